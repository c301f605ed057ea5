"""The line in front of the model: what waits, and what the next batch is.

Pure but for its own state: the engine calls it under its lock and hands it the time.
There is no timer. A free engine takes what waits, so an item alone waits for nobody, and items
that arrive while the model is busy leave together. Callers take turns for places in a batch, so
that one with a thousand items delays another's only item by one of them.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lumen_serving.inference.turns import FairQueue
from lumen_terms.modality import Modality
from lumen_wire.request.callers import Caller


class Waiting(Protocol):
    """What the line needs to know of an item."""

    @property
    def caller(self) -> Caller:
        """Who waits for it."""
        ...

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
class Batch(Generic[ItemT]):
    """One batch of one modality in order of turns, and the dead that were found on the way."""

    batch: list[ItemT]
    dead: list[ItemT]


class RequestQueue(Generic[ItemT]):
    """Items of callers who take turns, each caller's in order of arrival.

    `max_batch_sizes` is the largest batch of each modality.
    """

    def __init__(self, max_batch_sizes: Mapping[Modality, int]) -> None:
        self._max_batch_sizes = dict(max_batch_sizes)
        self._turns: FairQueue[_Own[ItemT]] = FairQueue(_Own)
        self._waiting = 0
        self._arrivals = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, item: ItemT) -> None:
        """Let the item wait behind all that its caller sent before."""
        self._turns.queue_of(item.caller).put(self._arrivals, item)
        self._arrivals += 1
        self._waiting += 1

    def take(self, now: float) -> Batch[ItemT]:
        """Return a batch of the modality of the oldest living item of whoever's turn it is.

        The batch is empty only when nobody alive waits. What is dead at `now` is removed and
        returned apart: it never fills a place in a batch, and costs its caller no turn.
        """
        dead: list[ItemT] = []
        batch: list[ItemT] = []
        item = self._next(tuple(Modality), now, dead)
        while item is not None:
            batch.append(item)
            full = len(batch) >= self._max_batch_sizes[item.modality]
            item = None if full else self._next((item.modality,), now, dead)
        self._waiting -= len(batch) + len(dead)
        return Batch(batch, dead)

    def drain(self) -> list[ItemT]:
        """Remove and return all that waits, in order of arrival."""
        waiting = sorted(
            (entry for own in self._turns.queues() for entry in own.all()), key=lambda e: e[0]
        )
        self._turns = FairQueue(_Own)
        self._waiting = 0
        return [item for _, item in waiting]

    def _next(self, modalities: Sequence[Modality], now: float, dead: list[ItemT]) -> ItemT | None:
        return self._turns.take(lambda own: own.take(modalities, now, dead))


class _Own(Generic[ItemT]):
    """What one caller has waiting, with its number of arrival: a queue per modality."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Modality, deque[tuple[int, ItemT]]] = {m: deque() for m in Modality}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, arrival: int, item: ItemT) -> None:
        self._queues[item.modality].append((arrival, item))

    def take(self, modalities: Sequence[Modality], now: float, dead: list[ItemT]) -> ItemT | None:
        """Remove and return the oldest living item of these modalities, and the dead before it."""
        queues = [self._queues[modality] for modality in modalities]
        for queue in queues:
            while queue and _is_dead(queue[0][1], now):
                dead.append(queue.popleft()[1])
        living = [queue for queue in queues if queue]
        return min(living, key=lambda queue: queue[0][0]).popleft()[1] if living else None

    def all(self) -> Iterator[tuple[int, ItemT]]:
        for queue in self._queues.values():
            yield from queue


def _is_dead(item: Waiting, now: float) -> bool:
    return item.abandoned or item.deadline_at <= now
