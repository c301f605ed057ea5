"""Lines out of what a process writes: bounded, free of terminal control, held back. Pure."""

import re
from collections import deque
from collections.abc import Callable, Mapping

from lumen_process.printable import printable

MAX_LINE_CHARS = 2000

# Colour that a library insists on; anything else of its kind is shown, so that it is noticed.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class LineSplitter:
    """Bytes in, whole lines out; the part of a line beyond the bound is dropped and marked."""

    def __init__(self, max_chars: int = MAX_LINE_CHARS) -> None:
        self._max = max_chars
        self._open = bytearray()
        self._cut = False

    def push(self, data: bytes) -> list[str]:
        """Take some output; return the lines that it completes."""
        *whole, rest = data.split(b"\n")
        lines: list[str] = []
        for part in whole:
            self._keep(part)
            lines.append(self._take())
        self._keep(rest)
        return lines

    def close(self) -> list[str]:
        """Return the last line when it had no line end."""
        return [self._take()] if self._open else []

    def _keep(self, part: bytes) -> None:
        # A character takes four bytes at most: this much suffices for the longest line kept.
        room = self._max * 4 - len(self._open)
        self._open += part[:room]
        self._cut = self._cut or len(part) > room

    def _take(self) -> str:
        text = plain_text(self._open.decode("utf-8", "replace").rstrip("\r"))
        cut = self._cut or len(text) > self._max
        self._open.clear()
        self._cut = False
        return text[: self._max] + "…" if cut else text


def plain_text(text: str) -> str:
    """Return the text without colour, and with what else a terminal would obey written out."""
    return printable(_COLOUR.sub("", text), keep="\t")


HELD_LINES = 1000

# Whoever asks for more than trouble wants to see it as it happens.
_QUIET = frozenset({"warning", "error"})


class HeldLines:
    """Log lines that wait for the outcome of a start.

    A process that fails at its start says why twice: in its log, and in its termination message.
    The message has the remedy and is what a person should read, so the lines before it wait; they
    are shown when the start succeeds, or when the failure has no name and they are all there is. A
    failure that repeats itself is not shown at length again.
    """

    def __init__(self, tell: Callable[[str], None], env: Mapping[str, str]) -> None:
        self._tell = tell
        self._held: deque[str] | None = None
        if env.get("LUMEN_LOG_LEVEL") in _QUIET:
            self._held = deque(maxlen=HELD_LINES)

    def push(self, line: str) -> None:
        """Take a line."""
        if self._held is None:
            self._tell(line)
        else:
            self._held.append(line)

    def release(self) -> None:
        """Show what is held, and every later line at once."""
        held, self._held = self._held or (), None
        for line in held:
            self._tell(line)

    def drop(self) -> None:
        """Forget what is held: the failure was named, or shown before."""
        self._held = None
