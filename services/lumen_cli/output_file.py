"""Files that commands write: their place is looked at before any work, and they come whole or not.

A file is written beside its name and moved there in the end: what stood there before stays until
then, and a full disk leaves no half of one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import click

from lumen_cli.speech import fail


class OutputFile(click.ParamType[Path]):
    """The path of a file to write, in a folder that is there and takes files.

    `suffixes` are the endings that it may have; none means any.
    """

    name = "file"

    def __init__(self, *suffixes: str) -> None:
        self._suffixes = suffixes

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, or refuse it as a wrong option."""
        path = Path(os.fsdecode(value) if isinstance(value, bytes) else str(value))
        if wrong := self._problem(path):
            self.fail(wrong, param, ctx)
        return path

    def _problem(self, path: Path) -> str:
        folder = path.parent
        if not folder.is_dir():
            return f"{path} cannot be written: the folder {folder} is not there. Make it first."
        if path.is_dir():
            return f"{path} is a folder: name a file in it."
        if path.exists() and not path.is_file():
            return f"{path} is a device or a pipe, which is not replaced: name another."
        if not os.access(folder, os.W_OK | os.X_OK):
            return (
                f"{path} cannot be written: {folder} takes no files from you. Name another place."
            )
        if self._suffixes and path.suffix.lower() not in self._suffixes:
            return f"{path} must end in one of {', '.join(self._suffixes)}."
        return ""


class PlotFile(OutputFile):
    """The path of a picture for matplotlib to write, which is an extra."""

    def __init__(self) -> None:
        super().__init__(".png", ".svg", ".pdf")

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, or refuse it as a wrong option."""
        if find_spec("matplotlib") is None:
            self.fail("needs matplotlib. Install it with: pip install 'lumen-serve[plot]'")
        return super().convert(value, param, ctx)


def part_of(path: Path) -> Path:
    """Return where the file is written until it is whole; its suffix stays."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write; the file is there under its name afterwards, or the command ends."""
    part = part_of(path)
    try:
        yield part
        part.replace(path)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}. What stood there before is untouched.")
    finally:
        with suppress(OSError):
            part.unlink()
