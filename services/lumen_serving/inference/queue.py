"""What waits, and what comes next: in front of the decode threads, and in front of the model.

Pure but for their own state: whoever calls them holds a lock and hands them the time.
Addresses take turns, within an address its connections, and within a connection those whom it
tells of. Whoever is new or was served goes behind the others of its level: who has one item waits
for at most one of each of the others, and one caller alone is served in its own order.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lumen_serving.errors import Overloaded
from lumen_serving.media.preprocess import PreprocessWork
from lumen_terms.modality import Modality
from lumen_wire.request.budget import Account, places
from lumen_wire.request.callers import STRANGER, Caller

QueueT = TypeVar("QueueT", bound=Sized)
ItemT = TypeVar("ItemT")


class FairQueue(Generic[QueueT]):
    """One queue of each caller, in the order of their turns; an empty one is forgotten."""

    def __init__(self, new_queue: Callable[[], QueueT]) -> None:
        self._new_queue = new_queue
        self._all: _Group[QueueT] = _Group()

    def queue_of(self, caller: Caller) -> QueueT:
        """Return a caller's queue to put something into; a new one comes behind all others."""
        group = self._all
        # A connection's own items are a member of it too, beside those whom it tells of.
        for name in (*caller, ""):
            if name not in group.members:
                group.members[name] = _Group()
            group = group.members[name]
        if group.queue is None:
            group.queue = self._new_queue()
        return group.queue

    def take(self, pick: Callable[[QueueT], ItemT | None]) -> ItemT | None:
        """Return what `pick` takes from the first queue where it finds something, None if nowhere.

        Only where it found something has a turn been used.
        """
        return self._all.take(pick)

    def queues(self) -> Iterator[QueueT]:
        """Yield every queue; the first is whose turn it is."""
        return self._all.queues()


class _Group(Generic[QueueT]):
    """A caller's queue, or the members that share a name, whose turn it is first."""

    __slots__ = ("members", "queue")

    def __init__(self) -> None:
        self.members: dict[str, _Group[QueueT]] = {}
        self.queue: QueueT | None = None

    def __bool__(self) -> bool:
        return bool(self.members or self.queue)

    def take(self, pick: Callable[[QueueT], ItemT | None]) -> ItemT | None:
        if self.queue is not None:
            return pick(self.queue)
        found, done = None, []
        for name, member in self.members.items():
            found = member.take(pick)
            if found is not None or not member:
                done.append(name)
            if found is not None:
                break
        for name in done:
            member = self.members.pop(name)
            if member:
                self.members[name] = member
        return found

    def queues(self) -> Iterator[QueueT]:
        if self.queue is not None:
            yield self.queue
        for member in self.members.values():
            yield from member.queues()


class Scoring(Hashable, Protocol):
    """What is made of a vector beyond itself; equal ones are asked once per batch."""

    def prepare(self) -> None:
        """Make what takes a moment; in a decode thread. A WireError answers the item."""
        ...

    def score(self, vectors: NDArray[np.float32]) -> Sequence[Any]:
        """Return one result for each unit row of [N, dim]."""
        ...


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What one item got: its unit vector [dim], its score when it asked for one, and the times."""

    vector: NDArray[np.float32]
    scored: Any
    decode_ms: float
    queue_ms: float
    model_ms: float
    score_ms: float


@dataclass(slots=True, eq=False)
class Item:
    """One picture uint8 [S, S, 3] or one row of tokens int64 [L] on its way through the model."""

    modality: Modality
    deadline_at: float
    answer: asyncio.Future[ItemOutcome]
    scoring: Scoring | None = None
    data: NDArray[Any] | None = None
    decode_ms: float = 0.0
    queued_at: float = 0.0
    caller: Caller = STRANGER

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.answer.done()


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of one modality in order of turns, and the dead that were found on the way."""

    batch: list[Item]
    dead: list[Item]


class RequestQueue:
    """Items of callers who take turns, each caller's in order of arrival.

    There is no timer. A free engine takes what waits, so an item alone waits for nobody, and items
    that arrive while the model is busy leave together. Callers take turns for places in a batch,
    so that one with a thousand items delays another's only item by one of them.
    `max_batch_sizes` is the largest batch of each modality.
    """

    def __init__(self, max_batch_sizes: Mapping[Modality, int]) -> None:
        self._max_batch_sizes = dict(max_batch_sizes)
        self._turns: FairQueue[_Own] = FairQueue(_Own)
        self._waiting = 0
        self._arrivals = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, item: Item) -> None:
        """Let the item wait behind all that its caller sent before."""
        self._turns.queue_of(item.caller).put(self._arrivals, item)
        self._arrivals += 1
        self._waiting += 1

    def take(self, now: float) -> Batch:
        """Return a batch of the modality of the oldest living item of whoever's turn it is.

        The batch is empty only when nobody alive waits. What is dead at `now` is removed and
        returned apart: it never fills a place in a batch, and costs its caller no turn.
        """
        dead: list[Item] = []
        batch: list[Item] = []
        item = self._next(tuple(Modality), now, dead)
        while item is not None:
            batch.append(item)
            full = len(batch) >= self._max_batch_sizes[item.modality]
            item = None if full else self._next((item.modality,), now, dead)
        self._waiting -= len(batch) + len(dead)
        return Batch(batch, dead)

    def drain(self) -> list[Item]:
        """Remove and return all that waits, in order of arrival."""
        waiting = sorted(
            (entry for own in self._turns.queues() for entry in own.all()), key=lambda e: e[0]
        )
        self._turns = FairQueue(_Own)
        self._waiting = 0
        return [item for _, item in waiting]

    def _next(self, modalities: Sequence[Modality], now: float, dead: list[Item]) -> Item | None:
        return self._turns.take(lambda own: own.take(modalities, now, dead))


class _Own:
    """What one caller has waiting, with its number of arrival: a queue per modality."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Modality, deque[tuple[int, Item]]] = {m: deque() for m in Modality}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, arrival: int, item: Item) -> None:
        self._queues[item.modality].append((arrival, item))

    def take(self, modalities: Sequence[Modality], now: float, dead: list[Item]) -> Item | None:
        """Remove and return the oldest living item of these modalities, and the dead before it."""
        queues = [self._queues[modality] for modality in modalities]
        for queue in queues:
            while queue and _is_dead(queue[0][1], now):
                dead.append(queue.popleft()[1])
        living = [queue for queue in queues if queue]
        return min(living, key=lambda queue: queue[0][0]).popleft()[1] if living else None

    def all(self) -> Iterator[tuple[int, Item]]:
        for queue in self._queues.values():
            yield from queue


def _is_dead(item: Item, now: float) -> bool:
    return item.abandoned or item.deadline_at <= now


@dataclass(slots=True, eq=False)
class Job:
    """An item whose payload is to be decoded; `work` once it was looked at."""

    item: Item
    look: Callable[[], PreprocessWork]
    work: PreprocessWork | None = None
    large: bool = False
    place: Account | None = None

    @property
    def peak_bytes(self) -> int:
        """The most memory that it will hold, 0 before it was looked at."""
        return self.work.peak_bytes if self.work else 0

    @property
    def seconds(self) -> float:
        """How long it will take, 0 before it was looked at."""
        return self.work.seconds if self.work else 0.0


class DecodeQueues:
    """Two lines before `workers` threads that hold `memory_bytes` at most between them.

    A quarter of the memory is for small work, so that large work cannot keep it out; at most
    `most_large` jobs of one caller wait as large ones, and of all callers twice as many.
    Pure but for its own state: the pool calls it under its lock and hands it the time.
    """

    def __init__(self, workers: int, memory_bytes: int, most_large: int) -> None:
        self._room = {False: memory_bytes // 4, True: memory_bytes - memory_bytes // 4}
        self._held = {False: 0, True: 0}
        self._places = places(most_large)
        self._small: FairQueue[deque[Job]] = FairQueue(deque)
        self._large: FairQueue[deque[Job]] = FairQueue(deque)
        self._most_running = max(1, workers - 1)
        self._large_running = 0
        self._large_was_last = False

    @property
    def most_bytes(self) -> int:
        """The most memory that one job may take."""
        return self._room[True]

    @property
    def held_bytes(self) -> int:
        """The memory that is promised to the jobs that run."""
        return sum(self._held.values())

    def put(self, job: Job) -> None:
        """Let a job wait that nobody has looked at."""
        self._small.queue_of(job.item.caller).append(job)

    def take(self) -> Job | None:
        """Return what a free thread should do next; None when nothing can be done now."""
        small = next(self._small.queues(), None)
        large = next(self._large.queues(), None)
        if large and self._is_larges_turn(bool(small)) and self._fits(large[0]):
            return self._take_large()
        if small:
            self._large_was_last = False
        return self._small.take(deque.popleft)

    def begin(self, job: Job, now: float) -> bool:
        """Return whether a job that was looked at may go on at once; it waits as large otherwise.

        Raises:
            Overloaded: so many large ones wait that its turn would come too late.

        """
        if job.work is not None and not job.work.large and self._fits(job):
            self._hold(job)
            return True
        job.large = True
        waiting = self._drop_abandoned()
        place = self._places.account(*job.item.caller)
        mean_s = sum(other.seconds for other in waiting) / max(1, len(waiting))
        wait_s = mean_s * place.ahead / self._most_running
        if wait_s > job.item.deadline_at - now or not place.try_take(1):
            place.close()
            raise Overloaded(
                f"{len(waiting)} large pictures wait to be decoded. "
                "Send the picture again later, or a smaller one.",
                retry_after_ms=max(1, math.ceil(wait_s * 1000)),
            )
        job.place = place
        self._large.queue_of(job.item.caller).append(job)
        return False

    def end(self, job: Job) -> None:
        """Take back what a job held that ran."""
        self._held[job.large] -= job.peak_bytes
        self._large_running -= job.large

    def drain(self) -> list[Job]:
        """Remove and return all that waits."""
        waiting = [*_jobs(self._small), *_jobs(self._large)]
        for job in waiting:
            _leave_place(job)
        self._small, self._large = FairQueue(deque), FairQueue(deque)
        return waiting

    def _take_large(self) -> Job | None:
        job = self._large.take(deque.popleft)
        if job is not None:
            _leave_place(job)
            self._hold(job)
            self._large_running += 1
            self._large_was_last = True
        return job

    def _drop_abandoned(self) -> list[Job]:
        """Forget the large ones whose callers left, and return the others."""
        waiting = _jobs(self._large)
        self._large = FairQueue(deque)
        for job in waiting:
            if job.item.abandoned:
                _leave_place(job)
            else:
                self._large.queue_of(job.item.caller).append(job)
        return [job for job in waiting if job.place is not None]

    def _is_larges_turn(self, small_wait: bool) -> bool:
        if self._large_running >= self._most_running:
            return False
        return not (small_wait and self._large_was_last)

    def _fits(self, job: Job) -> bool:
        return self._held[job.large] + job.peak_bytes <= self._room[job.large]

    def _hold(self, job: Job) -> None:
        self._held[job.large] += job.peak_bytes


def _jobs(turns: FairQueue[deque[Job]]) -> list[Job]:
    return [job for queue in turns.queues() for job in queue]


def _leave_place(job: Job) -> None:
    if job.place is not None:
        job.place.close()
        job.place = None
