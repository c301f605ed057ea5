"""How commands speak: results on stdout, everything else on stderr, exit codes 0, 1 and 2.

Colour and boxes only on a terminal; NO_COLOR and pipes give plain text. Labels, file names and
servers' sentences are other people's: they are shown as text, whatever they hold.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lumen_process.printable import printable, printable_json


class Format(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FAILED = 1
USAGE = 2

WIDE = 10_000

output_option = click.option(
    "--output",
    "-o",
    type=click.Choice([f.value for f in Format]),
    default=Format.TABLE.value,
    show_default=True,
    help="How results are printed on stdout.",
)


def say(*lines: str) -> None:
    """Print lines on stderr. A line end inside of one is somebody else's, and shown as text."""
    for line in lines:
        click.echo(printable(line), err=True)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one sentence on stderr and end with `code`."""
    say(message)
    sys.exit(code)


def fail_by(error: Exception, code: int = FAILED) -> NoReturn:
    """Print what an error of ours says, which may be a line for each thing that is wrong."""
    say(*str(error).splitlines())
    sys.exit(code)


def write_json(value: Any) -> None:
    """Write one JSON value and a line end to stdout."""
    sys.stdout.write(printable_json(value) + "\n")
    sys.stdout.flush()


def write_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: str) -> None:
    """Write rows as a table, JSON array or CSV to stdout, columns in the order given."""
    if output == Format.JSON:
        write_json(list(rows))
        return
    if output == Format.CSV:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(columns), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        # A quoted field keeps its lines and tabs; what a terminal obeys is for no spreadsheet.
        sys.stdout.write(printable(buffer.getvalue(), keep="\r\n\t"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    # A pipe has no width: cutting cells there would lose what the next program looks for.
    Console(width=None if sys.stdout.isatty() else WIDE, soft_wrap=True).print(table)


def _cell(value: Any) -> Text:
    """Return a cell: as Text, since rich reads a string in brackets as its markup."""
    return Text("" if value is None else printable(str(value)))


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show items done and time left on stderr while it is a terminal; yield "one more is done"."""
    console = Console(stderr=True)
    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(printable(what), total=total)
        yield lambda: progress.advance(task)
