"""Who is asked next: owners take turns, and of one owner's the one that is due longest comes first.

`pods` asks pages with it, a namespace being an owner. Only so many are out at once, and fewer of
one owner: an owner with a thousand slow pages fills its own places and nobody else's. Pure: it is
told the time.
"""

import heapq
import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class FairSchedule(Generic[T]):
    """What is due at which time, and how many of it are out; `done` gives a place back."""

    at_once: int
    of_one_at_once: int
    _later: list[tuple[float, int, str, T]] = field(default_factory=list)
    _due: dict[str, deque[T]] = field(default_factory=dict)
    _out: Counter[str] = field(default_factory=Counter)
    _next: dict[str, None] = field(default_factory=dict)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)

    def add(self, owner: str, at: float, item: T) -> None:
        """Put an item on the list for a time."""
        heapq.heappush(self._later, (at, next(self._order), owner, item))

    def take(self, now: float) -> tuple[str, T] | None:
        """Take the next item, and a place for it; None when nothing is due or no place is free."""
        self._ripen(now)
        if not self._next or self._out.total() >= self.at_once:
            return None
        owner = next(iter(self._next))
        del self._next[owner]
        waiting = self._due[owner]
        item = waiting.popleft()
        if not waiting:
            del self._due[owner]
        self._out[owner] += 1
        self._line_up(owner)
        return owner, item

    def done(self, owner: str) -> None:
        """Give a place back."""
        self._out[owner] -= 1
        if not self._out[owner]:
            del self._out[owner]
        self._line_up(owner)

    def wait_s(self, now: float) -> float | None:
        """Return how long until more is due; None while there is nothing to wait for."""
        return max(0.0, self._later[0][0] - now) if self._later else None

    def _ripen(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, owner, item = heapq.heappop(self._later)
            self._due.setdefault(owner, deque()).append(item)
            self._line_up(owner)

    def _line_up(self, owner: str) -> None:
        """Put an owner at the end of the line, where it has something due and a place."""
        if owner in self._due and self._out[owner] < self.of_one_at_once:
            self._next.setdefault(owner)
