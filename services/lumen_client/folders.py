"""The pictures below a folder, and what is left out of it.

What a camera, a phone, a share or a desktop leaves beside pictures is nobody's picture: it is
counted by its kind and left out. What its owner takes for a picture (by its name, or because its
bytes are one) is given, also when it turns out to be broken: whoever reads it names it.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lumen_client.pictures import is_readable_kind
from lumen_client.strings import shown
from lumen_manifest.reading.regular_files import read_bounded
from lumen_pictures.kinds import kind_of

PICTURE_SUFFIXES = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "avif"}
    | {"heic", "heif", "hif", "gif", "bmp", "tif", "tiff"}
)
# What shares, desktops and file systems keep in a folder of their own.
_SYSTEM_NAMES = frozenset(
    {
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "__macosx",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
    }
)
_HEAD_BYTES = 1024
_NUMBERS = re.compile(r"([0-9]+)")


class Leftover(StrEnum):
    """Why something below a folder is not a picture, as it is counted for its owner."""

    HIDDEN = "hidden"
    SYSTEM = "of the system"
    EMPTY = "empty"
    BROKEN_LINK = "broken links"
    FOLDER_LINK = "links to folders"
    SPECIAL = "pipes, sockets, devices"
    OTHER = "other files"


@dataclass(slots=True)
class PictureFolder:
    """Iterate over it for the paths of the pictures, once; it counts while it goes.

    Folders are listed one at a time, in natural order (img2 before img10) at every level, the same
    whatever the file system's. Links to folders are not followed, those to files are. `unreadable`
    are what could not be listed, with the reason.
    """

    path: Path
    leftovers: Counter[Leftover] = field(default_factory=Counter)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Path]:
        levels = [self._entries(self.path)]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
            elif entry.is_dir(follow_symlinks=False):
                levels.append(self._entries(Path(entry.path)))
            elif self._is_picture(entry):
                yield Path(entry.path)

    def summary(self) -> str:
        """Return what was left out, as "hidden: 3, empty: 1"; an empty text when nothing was."""
        counted = (kind for kind in Leftover if self.leftovers[kind])
        return ", ".join(f"{kind}: {self.leftovers[kind]}" for kind in counted)

    def nothing_found(self) -> str:
        """Return the sentence for a folder in which no picture is."""
        left_out = self.summary()
        beside = f"; left out: {left_out}" if left_out else ""
        return f"the folder {shown(self.path)} holds no pictures{beside}"

    def _entries(self, folder: Path) -> Iterator["os.DirEntry[str]"]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: _natural(entry.name))
        except OSError as error:
            self.unreadable.append((folder, error.strerror or str(error)))
            return
        # The first to be listed is the first to be freed: no level is held as a whole for long.
        entries.reverse()
        while entries:
            entry = entries.pop()
            kind = _by_name(entry.name)
            if kind is None:
                yield entry
            else:
                self.leftovers[kind] += 1

    def _is_picture(self, entry: "os.DirEntry[str]") -> bool:
        try:
            kind = _by_what_lies_there(entry)
        except OSError:
            # A file whose bytes cannot be read is its owner's picture, if its name says so.
            kind = None if _is_named_as_picture(entry.name) else Leftover.OTHER
        if kind is not None:
            self.leftovers[kind] += 1
        return kind is None


def _natural(name: str) -> tuple[list[str | int], str]:
    parts = _NUMBERS.split(name.casefold())
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def _by_name(name: str) -> Leftover | None:
    if name.casefold() in _SYSTEM_NAMES:
        return Leftover.SYSTEM
    return Leftover.HIDDEN if name.startswith(".") else None


def _by_what_lies_there(entry: "os.DirEntry[str]") -> Leftover | None:
    """Return why it is not a picture, None when it is one; raises OSError if it is unreadable."""
    try:
        found = entry.stat()
    except OSError:
        if entry.is_symlink():
            return Leftover.BROKEN_LINK
        raise
    if stat.S_ISDIR(found.st_mode):
        return Leftover.FOLDER_LINK
    if not stat.S_ISREG(found.st_mode):
        return Leftover.SPECIAL
    if not found.st_size:
        return Leftover.EMPTY
    if _is_named_as_picture(entry.name):
        return None
    head = read_bounded(Path(entry.path), _HEAD_BYTES)
    return None if is_readable_kind(kind_of(head)) else Leftover.OTHER


def _is_named_as_picture(name: str) -> bool:
    return name.rpartition(".")[2].lower() in PICTURE_SUFFIXES
