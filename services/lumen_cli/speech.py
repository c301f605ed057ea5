"""How commands speak: results on stdout, everything else on stderr, exit codes 0, 1 and 2.

Who asked for JSON gets JSON also of a failure, `{"error": {"message": ..., "exitCode": ...}}`,
unless results were printed before: those hold their own errors. Imports nothing heavy.
"""

import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NoReturn

import click

from lumen_process.printable import printable, printable_json

FAILED = 1
USAGE = 2


class Format(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def output_choice(
    *formats: str, said: str = "How results are printed on stdout."
) -> Callable[..., Any]:
    """Return `--output`, which takes one of these, the first unless told; `said` is its help."""
    return click.option(
        "--output",
        "-o",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=said,
    )


def say(*lines: str) -> None:
    """Print lines on stderr. A line end inside of one is somebody else's, and shown as text."""
    for line in lines:
        click.echo(printable(line), err=True)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one sentence on stderr and end with `code`."""
    say(message)
    end(message, code)


def fail_by(error: Exception, code: int = FAILED) -> NoReturn:
    """Print what an error of ours says, which may be a line for each thing that is wrong."""
    say(*str(error).splitlines())
    end(str(error), code)


def end(message: str, code: int = FAILED, facts: Mapping[str, str] = {}) -> NoReturn:
    """End with `code` after something was said on stderr; programs are told it on stdout.

    `facts` are what else is known, such as a remedy.
    """
    context = click.get_current_context(silent=True)
    tell_programs(context.params.get("output") if context else None, message, code, facts)
    sys.exit(code)


def tell_programs(output: object, message: str, code: int, facts: Mapping[str, str] = {}) -> None:
    """Print a failure for who asked for JSON and has seen nothing yet."""
    if output == Format.JSON and not _has_written():
        known = {key: fact for key, fact in facts.items() if fact}
        write_json({"error": {**known, "message": message, "exitCode": code}})


_WRITTEN = "lumen_cli.written"


def write(text: str) -> None:
    """Write to stdout, at once."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_WRITTEN] = True
    sys.stdout.write(text)
    sys.stdout.flush()


def _has_written() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_WRITTEN, False)


def write_json(value: Any) -> None:
    """Write one JSON value and a line end to stdout."""
    write(printable_json(value) + "\n")
