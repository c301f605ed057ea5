"""Lines out of what a process writes: bounded in length, free of terminal control. Pure."""

import re

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
