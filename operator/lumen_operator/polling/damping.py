"""What is told of pages that change: news at once, and changes no more often than they may.

A page may say something else each time it is asked, and every change is a status that is written.
What is held back is replaced by what is newer, and told when the time has come. Pure: it is told
the time.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

U = TypeVar("U", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Damper(Generic[U, V]):
    """The changes of one service's pages, as far as they were not told yet."""

    _told_at: float = float("-inf")
    _held: dict[U, V] = field(default_factory=dict)

    def offer(self, page: U, value: V, now: float, every_s: float) -> dict[U, V]:
        """Take in a page's change; return what is to be told now, of this page and the others.

        Changes are told `every_s` apart, and so at once with 0: that is for news.
        """
        self._held[page] = value
        if now - self._told_at < every_s:
            return {}
        told, self._held, self._told_at = self._held, {}, now
        return told

    def withdraw(self, page: U) -> None:
        """Forget what a page wanted to tell: it is as it was, or nobody asks it any more."""
        self._held.pop(page, None)
