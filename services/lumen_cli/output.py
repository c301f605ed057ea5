"""Results on stdout, as `--output` asks for them.

Colour and boxes only on a terminal; NO_COLOR and pipes give plain text. Labels, file names and
servers' sentences are other people's: they are shown as text, whatever they hold.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lumen_cli.speech import Format, output_choice, write, write_json
from lumen_process.printable import printable

WIDE = 10_000

output_option = output_choice(*(f.value for f in Format))


def write_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: str) -> None:
    """Write rows as a table, JSON array or CSV to stdout, columns in the order given."""
    if output == Format.JSON:
        write_json(list(rows))
        return
    if output == Format.CSV:
        write(csv_text([dict(zip(columns, columns, strict=True)), *rows], columns))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    # A pipe has no width: cutting cells there would lose what the next program looks for.
    console = Console(width=None if sys.stdout.isatty() else WIDE, soft_wrap=True)
    with console.capture() as printed:
        console.print(table)
    write(printed.get())


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV. What a terminal obeys is for no spreadsheet, and written out."""
    buffer = io.StringIO()
    csv.DictWriter(buffer, fieldnames=list(columns), extrasaction="ignore").writerows(rows)
    return printable(buffer.getvalue(), keep="\r\n\t")  # a quoted field keeps its lines and tabs


def _cell(value: Any) -> Text:
    """Return a cell: as Text, since rich reads a string in brackets as its markup."""
    return Text("" if value is None else printable(str(value)))


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show items done and time left on stderr while it is a terminal; yield "one more is done"."""
    console = Console(stderr=True)
    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # Rows on the same terminal go above the bar; a pipe's never take the way of stderr.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task(printable(what), total=total)
        yield lambda: progress.advance(task)
