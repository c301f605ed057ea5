"""Results as they come: a row is on stdout as soon as it is known, and stays whole if we end early.

A table's columns grow with what comes; JSON is one array with a row a line, closed whatever ends
the command; JSON lines and CSV have no end to miss.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import click

from lumen_cli.output import csv_text
from lumen_cli.speech import output_choice, write
from lumen_process.printable import printable, printable_json

Row = Mapping[str, Any]


class StreamFormat(StrEnum):
    """What `--output` takes where rows come one by one."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


stream_option = output_choice(
    *(f.value for f in StreamFormat),
    said="How results are printed on stdout, each as it comes; jsonl is one object a line.",
)


@contextmanager
def row_stream(columns: Sequence[str], output: str) -> Iterator[Callable[[Row], None]]:
    """Yield what prints a row; of JSON all its keys, of the others the columns."""
    if output == StreamFormat.JSON:
        yield from _array()
    elif output == StreamFormat.JSONL:
        yield lambda row: write(f"{printable_json(row)}\n")
    elif output == StreamFormat.CSV:
        write(csv_text([dict(zip(columns, columns, strict=True))], columns))
        yield lambda row: write(csv_text([row], columns))
    else:
        yield _Table(columns).write


def _array() -> Iterator[Callable[[Row], None]]:
    opened = False

    def print_row(row: Row) -> None:
        nonlocal opened
        write(f"{',' if opened else '['}{printable_json(row)}\n")
        opened = True

    try:
        yield print_row
    except BaseException:
        # A failure before the first row is printed by whoever says it.
        if opened:
            write("]\n")
        raise
    write("]\n" if opened else "[]\n")


class _Table:
    """Columns as wide as what came so far: what comes later may widen them, and never is cut."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._widths = [len(column) for column in columns]
        self._begun = False

    def write(self, row: Row) -> None:
        cells = [_cell(row.get(column)) for column in self._columns]
        self._widths = [max(w, len(c)) for w, c in zip(self._widths, cells, strict=True)]
        if not self._begun:
            head = self._line(self._columns)
            write(click.style(head, bold=True) + "\n" if sys.stdout.isatty() else f"{head}\n")
            self._begun = True
        write(f"{self._line(cells)}\n")

    def _line(self, cells: Sequence[str]) -> str:
        padded = (c.ljust(width) for c, width in zip(cells, self._widths, strict=True))
        return "  ".join(padded).rstrip()


def _cell(value: Any) -> str:
    return "" if value is None else printable(str(value))
