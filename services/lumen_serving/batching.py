"""The line in front of the model: what waits, and what the next batch is.

Pure but for its own state: the engine calls it under its lock and hands it the time.
There is no timer. A free engine takes what waits, so an item alone waits for nobody, and items
that arrive while the model is busy leave together.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lumen_serving.backends.base import Modality


class Waiting(Protocol):
    """What the line needs to know of an item."""

    @property
    def modality(self) -> Modality:
        """Which tower it goes through."""
        ...

    @property
    def deadline_at(self) -> float:
        """When its caller stops waiting, on the clock that `take` is given."""
        ...

    @property
    def abandoned(self) -> bool:
        """Whether its caller has left."""
        ...


ItemT = TypeVar("ItemT", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Taken(Generic[ItemT]):
    """One batch of one modality in order of arrival, and the dead that were found on the way."""

    batch: list[ItemT]
    dead: list[ItemT]


class Line(Generic[ItemT]):
    """Items in order of arrival, one queue per modality.

    `caps` is the largest batch of each modality.
    """

    def __init__(self, caps: Mapping[Modality, int]) -> None:
        self._caps = dict(caps)
        self._queues: dict[Modality, deque[tuple[int, ItemT]]] = {m: deque() for m in Modality}
        self._arrivals = 0

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def put(self, item: ItemT) -> None:
        """Let the item wait behind all that came before it."""
        self._queues[item.modality].append((self._arrivals, item))
        self._arrivals += 1

    def take(self, now: float) -> Taken[ItemT]:
        """Return the batch of whichever modality has the oldest living head.

        The batch is empty only when nobody alive waits. What is dead at `now` is removed and
        returned apart: it never fills a place in a batch.
        """
        dead: list[ItemT] = []
        heads = [
            (queue[0][0], modality)
            for modality, queue in self._queues.items()
            if self._drop_dead_heads(queue, now, dead)
        ]
        if not heads:
            return Taken([], dead)
        _, modality = min(heads)
        return Taken(self._collect(modality, now, dead), dead)

    def drain(self) -> list[ItemT]:
        """Remove and return all that waits, in order of arrival."""
        waiting = sorted(
            (entry for queue in self._queues.values() for entry in queue), key=lambda e: e[0]
        )
        for queue in self._queues.values():
            queue.clear()
        return [item for _, item in waiting]

    def _drop_dead_heads(
        self, queue: deque[tuple[int, ItemT]], now: float, dead: list[ItemT]
    ) -> bool:
        while queue and _is_dead(queue[0][1], now):
            dead.append(queue.popleft()[1])
        return bool(queue)

    def _collect(self, modality: Modality, now: float, dead: list[ItemT]) -> list[ItemT]:
        queue = self._queues[modality]
        batch: list[ItemT] = []
        while queue and len(batch) < self._caps[modality]:
            item = queue.popleft()[1]
            (dead if _is_dead(item, now) else batch).append(item)
        return batch


def _is_dead(item: Waiting, now: float) -> bool:
    return item.abandoned or item.deadline_at <= now
