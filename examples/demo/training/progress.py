"""One line of progress with the time that is left."""

import sys
import time


class Progress:
    """Prints at most one line a second on a terminal, one in fifteen into a file."""

    def __init__(self, what: str, total: int) -> None:
        """Begin `what`, of which there are `total` steps."""
        self._what, self._total = what, total
        self._began = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._pause_s = 1 if self._terminal else 15
        self._printed = self._began

    def at(self, done: int, note: str = "") -> None:
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        if now - self._printed < self._pause_s:
            return
        self._printed = now
        left_s = (now - self._began) / done * (self._total - done)
        line = f"{self._what:<16}{done:>6}/{self._total}   {left_s:4.0f} s left   {note}"
        print(f"\r{line:<90}" if self._terminal else line, end="" if self._terminal else "\n")
        sys.stdout.flush()

    def end(self, note: str = "") -> None:
        """Say that it is done, and how long it took."""
        took_s = time.monotonic() - self._began
        line = f"{self._what:<16}done in {took_s:.0f} s   {note}"
        print(f"\r{line:<90}" if self._terminal else line, flush=True)
