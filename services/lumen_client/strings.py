"""What a string is meant as: a text, a path, a data URI.

A string that may be meant as a path and leads nowhere is an error, never a text: the vector of the
words "holiday/*.jpg" is of no use to anybody. `Text` says that a string is a text all the same.
"""

import difflib
import errno
import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from lumen_client.errors import ContentError
from lumen_process.addresses import is_this_machine
from lumen_process.printable import printable

PICTURE_SUFFIXES: Final = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "avif", "heic", "heif", "gif", "bmp"}
    | {"tif", "tiff", "ico", "svg", "psd", "jxl", "jp2"}
    | {"dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "raw"}
)
# No file name is longer on any common system, no path of them either.
_NAME_BYTES = 255
_PATH_BYTES = 4096
_SHOWN = 80

_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_DATA_URI = re.compile(r"data:\S", re.IGNORECASE)
# A wildcard that stands by itself is a sign of arithmetic, and a last `?` asks a question.
_GLOB = re.compile(r"\S\*|\*\S")
_GLOB_IN_A_WORD = re.compile(r"\S*(\?\S|\[\S+\])\S*")
# What stands between blanks means "or", as in "cat / dog".
_SEPARATOR = re.compile(r"(?<!\s)[/\\]|[/\\](?!\s)")
_SUFFIX = re.compile(r"\.([a-z][a-z0-9]{1,4})$", re.IGNORECASE)
_NOWHERE = frozenset({errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL})

_SAY_TEXT = "If it is a text, say so: Text(...), or --text on the command line."


def meant_path(string: str) -> Path | None:
    """Return the path that a string names, whatever lies there; None when it is a text.

    `file://` addresses are paths, and `~` is the home folder.

    Raises:
        ContentError: it looks like a path, a pattern or an address, and nothing is there.

    """
    address = _ADDRESS.match(string)
    if address is not None:
        if address[1].lower() != "file":
            raise ContentError(
                f"{shown(string)} is an address, which is not fetched here. "
                f"Fetch the picture and give its path or its bytes. {_SAY_TEXT}"
            )
    elif not string:
        return None  # not the working directory, which Path makes of it
    path = Path(_local_path(string) if address else string)
    if _lies_there(path):
        return path
    if string.startswith("~"):
        at_home = Path(os.path.expanduser(string))  # noqa: PTH111 - Path would raise
        if _lies_there(at_home):
            return at_home
    why = "is an address of a file" if address else _path_like(string)
    if why:
        raise ContentError(f"{shown(string)} {why}, and there is no such file. {_SAY_TEXT}")
    return None


def is_data_uri(string: str) -> bool:
    """Whether a string begins as data URIs do, however broken the rest is."""
    return _DATA_URI.match(string) is not None


def shown(content: object) -> str:
    """Return an item as a sentence may quote it: in quotes, bounded, free of control characters."""
    text = str(content)
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"'{printable(cut)}'"


def _local_path(address: str) -> str:
    """Return the path in a file address; raises ContentError when it is another machine's."""
    try:
        parts = urlsplit(address.strip())
    except ValueError as error:
        raise ContentError(f"{shown(address)} is not a readable address: {error}") from error
    if parts.netloc and not is_this_machine(parts.netloc):
        raise ContentError(
            f"{shown(address)} names a file of another machine. Write file:///path for one of this."
        )
    return unquote(parts.path, errors="surrogateescape")


def _lies_there(path: Path) -> bool:
    """Whether anything is at the path; raises ContentError when that cannot be known."""
    try:
        path.stat()
    except ValueError:  # a zero byte, or a lone surrogate that no file name holds
        return False
    except OSError as error:
        if error.errno == errno.ENOENT:
            return path.is_symlink()  # whose end is missing: an error that reading it will name
        if error.errno in _NOWHERE:
            return False
        said = error.strerror or error
        raise ContentError(f"{shown(path)} cannot be read: {said}. {_SAY_TEXT}") from error
    return True


def _path_like(string: str) -> str:
    """Return what makes one take the string for a path; "" when nobody could."""
    bare = string.strip().strip("'\"`").strip()
    if not bare or "\n" in bare or "\0" in bare or len(bare) > _PATH_BYTES:
        return ""
    if any(len(name.encode(errors="replace")) > _NAME_BYTES for name in re.split(r"[/\\]", bare)):
        return ""
    if _SEPARATOR.search(bare):
        return "looks like a path"
    if _GLOB.search(bare) or (_GLOB_IN_A_WORD.fullmatch(bare)):
        return "is a pattern that no file matched"
    suffix = _SUFFIX.search(bare)
    if suffix is None:
        return ""
    is_word = not re.search(r"\s", bare)
    alike = difflib.get_close_matches(suffix[1].lower(), PICTURE_SUFFIXES, 1, 0.65)
    return "looks like a file's name" if is_word or alike else ""
