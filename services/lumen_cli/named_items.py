"""What a command line names, one by one: files, texts, and folders, which stand for their pictures.

A folder is walked while its pictures are answered, so that the first answer comes at once however
many there are. What is left out of it is said at the end, and what could not be listed is a
failure.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from lumen_cli.speech import USAGE, fail, say
from lumen_client.folders import PictureFolder


class NamedItems:
    """Iterate over it once; ends the command when a folder that is named holds no pictures."""

    def __init__(self, named: Iterable[str | Path]) -> None:
        self._folders: list[PictureFolder] = []
        self._parts = [self._part(item) for item in named]
        self.total = None if self._folders else len(self._parts)
        """How many there are; None when only a walk could tell."""

    def __iter__(self) -> Iterator[str | Path]:
        return itertools.chain.from_iterable(self._parts)

    @property
    def unreadable(self) -> bool:
        """Whether a part of a folder could not be listed."""
        return any(folder.unreadable for folder in self._folders)

    def say_left_out(self) -> None:
        """Say on stderr what was left out of each folder, and what could not be listed."""
        for folder in self._folders:
            left_out = folder.summary()
            if left_out:
                say(f"Left out of {folder.path}: {left_out}")
            say(*(f"{where} cannot be listed: {why}" for where, why in folder.unreadable))

    def _part(self, item: str | Path) -> Iterable[str | Path]:
        path = Path(item)
        if not _is_folder(path):
            return (item,)
        folder = PictureFolder(path)
        pictures = iter(folder)
        first = next(pictures, None)
        if first is None:
            say(*(f"{where} cannot be listed: {why}" for where, why in folder.unreadable))
            fail(folder.nothing_found(), USAGE)
        self._folders.append(folder)
        return itertools.chain((first,), pictures)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a text that no path can be
        return False
