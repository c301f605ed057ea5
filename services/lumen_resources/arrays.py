"""Arrays out of other people's files: numpy's readers, whose every failure is one error here.

A header is a Python expression that somebody wrote and an archive's sizes are claims: numpy answers
a wrong one with whatever its parser, zlib or the allocator happened to raise.
"""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.reading.regular_files import open_regular

MAX_NPZ_BYTES = 4 * 1024**3
# What numpy and zipfile raise for bytes that are not what they say. RuntimeError: an encrypted
# member; NotImplementedError is one of its kind: a compression that is not known.
_DAMAGE = (
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_SHOWN = 300


class UnreadableArrayError(ValueError):
    """A file holds no array that can be read; the text says why, in one line."""


def map_npy(path: Path) -> NDArray[Any]:
    """Return the array of an npy file, memory-mapped; pickled objects are refused unread.

    Raises UnreadableArrayError, and OSError for what the file system says.
    """
    # numpy multiplies a lying shape before it looks at the file.
    with _one_error(), open_regular(path) as file, np.errstate(over="ignore"):
        mapped = np.lib.format.open_memmap(path, mode="r")
        size = file.seek(0, 2)
        if mapped.offset + mapped.nbytes != size:
            raise ValueError(
                f"its header speaks of {mapped.offset + mapped.nbytes:,} bytes, it has {size:,}"
            )
        return mapped


def read_npz(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """Return the first array of an npz that has one of these names.

    Raises UnreadableArrayError, and OSError for what the file system says.
    """
    with _one_error(), open_regular(path) as file, _opened(file) as archive:
        for name in names:
            if name in archive.files:
                return _array(archive[name])
        found = ", ".join(archive.files) or "nothing"
        raise ValueError(f"it has no array {' or '.join(names)}; it holds: {found}")


def _opened(file: BinaryIO) -> Any:
    """Return numpy's view of an npz; raises ValueError for one that unpacks to too much."""
    with zipfile.ZipFile(file) as packed:
        unpacked = sum(member.file_size for member in packed.infolist())
    if unpacked > MAX_NPZ_BYTES:
        raise ValueError(f"it unpacks to {unpacked:,} bytes; at most {MAX_NPZ_BYTES:,} are read")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _array(found: Any) -> NDArray[Any]:
    # A member that is not npy comes back as its bytes.
    if not isinstance(found, np.ndarray):
        raise TypeError("it is not an array")
    return found


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableArrayError(said[:_SHOWN].rstrip(".")) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # Some decompressors say it so.
        raise UnreadableArrayError(str(error)[:_SHOWN]) from error
