"""When an answer must be there, in this process's monotonic time."""

import time
from dataclasses import dataclass
from typing import Protocol, Self

DEFAULT_S = 30.0


class _HasTime(Protocol):
    def time_remaining(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point of `time.monotonic()`; every stage gets what is left of it."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline that lies `seconds` ahead."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def from_context(cls, context: _HasTime, default_s: float = DEFAULT_S) -> Self:
        """Return the caller's own deadline, or `default_s` from now when the call has none."""
        remaining_s = context.time_remaining()
        return cls.after(default_s if remaining_s is None else remaining_s)

    def remaining_s(self) -> float:
        """Return the seconds left, never below 0."""
        return max(self.at - time.monotonic(), 0.0)

    @property
    def expired(self) -> bool:
        """Say whether nothing is left."""
        return time.monotonic() >= self.at

    def earlier_by(self, seconds: float) -> "Deadline":
        """Return a deadline `seconds` before this one, so that a later stage has time left."""
        return Deadline(self.at - seconds)
