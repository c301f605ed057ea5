"""The standard streams of a command: open when it starts, and failing in one place.

A full disk behind stdout, a reader that left, a stream that the caller closed: whatever a command
was writing, it ends with a sentence and exit code 1. After `| head -1` it ends in silence, as other
filters do. What cannot be said on stderr is not said.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FAILED = 1
_STDIN, _STDOUT, _STDERR = range(3)


class OutputLost(OSError):
    """Stdout takes no more."""


class _Stdout(io.TextIOWrapper):
    """Raises OutputLost where writing fails: it is told from a file's failure by its type."""

    def write(self, text: str) -> int:
        """Write a text."""
        with _lost():
            return super().write(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with _lost():
            super().flush()


class _Stderr(io.TextIOWrapper):
    """Goes on when nobody listens: a sentence that is lost must not hide the exit code."""

    def write(self, text: str) -> int:
        """Write a text, if anybody takes it."""
        with _unheard():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, if anybody takes it."""
        with _unheard():
            super().flush()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputLost(error.errno, error.strerror) from error


@contextmanager
def _unheard() -> Iterator[None]:
    try:
        yield
    except OSError:
        _discard(_STDERR)


def open_streams() -> None:
    """Make sure that all three are there and that their failures are ours.

    A closed one would otherwise be the next file or connection that is opened, and what a library
    prints would go into it.
    """
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # For reading only: whoever writes to a closed stdout is told so.
            mode = os.O_WRONLY if descriptor == _STDERR else os.O_RDONLY
            os.set_inheritable(os.open(os.devnull, mode), True)
    # Texts that the terminal's encoding lacks are written as escapes, not as a traceback.
    sys.stdout = _over(_Stdout, _STDOUT, sys.stdout)
    sys.stderr = _over(_Stderr, _STDERR, sys.stderr)


def _over(kind: type[io.TextIOWrapper], descriptor: int, stream: object) -> io.TextIOWrapper:
    """Return a stream over the same file; `stream` is Python's own, None for a closed one."""
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError):
            stream.flush()
    return kind(
        io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
        encoding=stream.encoding if isinstance(stream, io.TextIOWrapper) else "utf-8",
        errors="backslashreplace",
        line_buffering=descriptor == _STDERR or os.isatty(descriptor),
    )


@contextmanager
def failures_said() -> Iterator[None]:
    """Run a command to its end; one whose output was lost ends with a sentence and code 1."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OutputLost as error:
        _discard(_STDOUT)
        if error.errno != errno.EPIPE:
            sys.stderr.write(
                f"stdout takes no more: {error.strerror}. Send what is printed to another place.\n"
            )
        raise SystemExit(FAILED) from None


def _discard(descriptor: int) -> None:
    """Send what is still buffered nowhere: else the interpreter fails with it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
