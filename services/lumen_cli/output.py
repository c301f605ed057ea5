"""How commands speak: results on stdout, everything else on stderr, exit codes 0, 1 and 2.

Colour and boxes only on a terminal; NO_COLOR and pipes give plain text.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NoReturn

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


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


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one sentence on stderr and end with `code`."""
    click.echo(message, err=True)
    sys.exit(code)


def write_json(value: Any) -> None:
    """Write one JSON value and a line end to stdout."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
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
        sys.stdout.write(buffer.getvalue())
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if row.get(c) is None else str(row[c]) for c in columns))
    # A pipe has no width: cutting cells there would lose what the next program looks for.
    Console(width=None if sys.stdout.isatty() else WIDE, soft_wrap=True).print(table)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show items done and time left on stderr while it is a terminal; yield "one more is done"."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
