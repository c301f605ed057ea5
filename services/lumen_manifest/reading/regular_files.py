"""Opens files that others name, without waiting for one that is none.

A named pipe would hold the reader until somebody writes, `/dev/zero` never ends; both are told
from a file by what was opened, not by what lay there a moment before.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# A shell's `<(...)` and `/dev/stdin`: whoever writes these means the pipe.
_DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, unbuffered; at once, whatever lies there.

    Raises OSError, also for what is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        refuse_other_kinds(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: Path, most: int) -> bytes:
    """Return a regular file's bytes, `most` and one more at most: whoever asks says what is long.

    Raises OSError.
    """
    with open_regular(path) as file:
        return _up_to(file, most)


def read_named(path: Path, most: int) -> bytes:
    """Return the same of a path that a person named, who may also have meant a pipe of a shell.

    Raises OSError.
    """
    if str(path).startswith(_DESCRIPTORS):
        with path.open("rb", buffering=0) as pipe:
            return _up_to(pipe, most)
    return read_bounded(path, most)


def refuse_other_kinds(mode: int, path: Path) -> None:
    """Raise OSError unless a file's mode is a regular one's."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = next((name for holds, name in _KINDS if holds(mode)), "something else")
    raise OSError(errno.EINVAL, f"{kind}, where a file is expected", str(path))


def _up_to(file: BinaryIO, most: int) -> bytes:
    content = bytearray()
    while len(content) <= most and (block := file.read(most + 1 - len(content))):
        content += block
    return bytes(content)
