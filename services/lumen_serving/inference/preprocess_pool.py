"""An item's way: admission, the threads that make model input of payloads, the engine.

As many as there are cores: the decoders of pictures release the interpreter's lock, and the model
shares the same cores with them. How much may wait here is bounded by admission.
What a payload costs is known only once its header was read, so everything comes in by the small
line. What turns out large waits apart and begins when there is memory for it; it leaves a thread
to the small ones, or takes turns with them where there is one thread, so that neither holds up
the other. In both lines callers take turns.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lumen_serving.errors import BackendFailed, Overloaded, Stopping, TooLate
from lumen_serving.inference.admission import Admission
from lumen_serving.inference.engine import Engine, Item, ItemOutcome, Scoring
from lumen_serving.inference.turns import FairQueue
from lumen_serving.media.preprocess import PreprocessWork
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.errors import WireError
from lumen_wire.request.budget import Account, places
from lumen_wire.request.callers import Caller


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


class PreprocessPool:
    """`workers` threads in front of the engine; an async context manager.

    `on_done(seconds)` hears of every item, on one of the threads, when it leaves the line of the
    small ones; 0 means that it was not decoded there.
    """

    def __init__(
        self,
        workers: int,
        lines: DecodeQueues,
        engine: Engine,
        metrics: ServerMetrics,
        on_done: Callable[[float], None],
    ) -> None:
        self._lines = lines
        self._engine = engine
        self._metrics = metrics
        self._on_done = on_done
        self._wake = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"decode_{number}", daemon=True)
            for number in range(workers)
        ]

    @property
    def most_bytes(self) -> int:
        """The most memory that decoding one payload may take."""
        return self._lines.most_bytes

    async def __aenter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._wake:
            self._stopping = True
            left = self._lines.drain()
            self._wake.notify_all()
        for job in left:
            self._engine.fail(job.item, Stopping("The server is stopping."))
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def submit(self, item: Item, look: Callable[[], PreprocessWork]) -> None:
        """Do the work that `look` finds in a thread, and hand the item on to the engine.

        What either raises answers the item: a `WireError` as it is, anything else as Internal.
        """
        with self._wake:
            self._lines.put(Job(item, look))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                job = None
                while not self._stopping and (job := self._lines.take()) is None:
                    self._wake.wait()
            if job is None:
                return
            step = self._look if job.work is None else self._make
            try:
                step(job, time.monotonic())
            except WireError as error:
                self._engine.fail(job.item, error)
            except BaseException as error:  # noqa: BLE001 - panics of Rust are no Exception
                self._engine.fail(job.item, _surprise(error))

    def _look(self, job: Job, began_at: float) -> None:
        """Find out what there is to do, and do it at once if it is little."""
        try:
            self._check_alive(job, began_at)
            job.work = job.look()
            with self._wake:
                goes_on = self._lines.begin(job, time.monotonic())
            if goes_on:
                self._make(job, began_at)
        except Overloaded:
            self._metrics.refused("decode")
            raise
        finally:
            # Large work waits in a line of its own, which newcomers need not count.
            small = job.work is not None and not job.large
            self._on_done(time.monotonic() - began_at if small else 0)

    def _make(self, job: Job, began_at: float) -> None:
        try:
            self._check_alive(job, began_at)
            if job.work is None:
                raise AssertionError("nobody has looked at the payload")
            job.item.data = job.work.make()
        finally:
            with self._wake:
                self._lines.end(job)
                self._wake.notify()
        seconds = time.monotonic() - began_at
        job.item.decode_ms = seconds * 1000
        self._metrics.decoded(job.item.modality, seconds)
        self._engine.submit(job.item)

    def _check_alive(self, job: Job, now: float) -> None:
        if job.item.abandoned or job.item.deadline_at <= now:
            self._metrics.dropped_dead(1)
            raise TooLate("The deadline passed before the payload was decoded.")


def _surprise(error: BaseException) -> BackendFailed:
    failure = BackendFailed("The payload could not be prepared for the model.")
    failure.__cause__ = error
    return failure


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The long-lived parts that every request goes through."""

    admission: Admission
    decoders: PreprocessPool
    engine: Engine

    async def run(
        self,
        caller: Caller,
        modality: Modality,
        deadline_at: float,
        look: Callable[[], PreprocessWork],
        scoring: Scoring | None = None,
    ) -> ItemOutcome:
        """Return what the model makes of the one item whose work `look` finds in a thread.

        A caller that is cancelled, as it is at its deadline, leaves every queue.

        Raises:
            Overloaded, TooLate: refused at once, or the deadline passed in a queue.
            WireError: what `look`, its work or the model answered.

        """
        with self.admission.admit(modality, deadline_at, caller):
            answer: asyncio.Future[ItemOutcome] = asyncio.get_running_loop().create_future()
            self.admission.decode_begins()
            item = Item(modality, deadline_at, answer, scoring, caller=caller)
            self.decoders.submit(item, look)
            return await answer
