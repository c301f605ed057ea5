"""Log lines that wait for the outcome of a start.

A process that fails at its start says why twice: in its log, and in its termination message. The
message has the remedy and is what a person should read, so the lines before it wait; they are shown
when the start succeeds, or when the failure has no name and they are all there is. A failure that
repeats itself is not shown at length again.
"""

from collections import deque
from collections.abc import Callable, Mapping

HELD_LINES = 1000

# Whoever asks for more than trouble wants to see it as it happens.
_QUIET = frozenset({"warning", "error"})


class HeldLines:
    """Passes lines on, at once or when released."""

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
