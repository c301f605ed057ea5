"""What waits for a decode thread, and in which order it is served.

Pure but for its own state: `decoding` calls it under its lock and hands it the time.
What a payload costs is known only once its header was read, so everything comes in by the small
line. What turns out large waits apart and begins when there is memory for it; it leaves a thread
to the small ones, or takes turns with them where there is one thread, so that neither holds up
the other. In both lines callers take turns.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lumen_serving.errors import Overloaded
from lumen_serving.inference.engine import Item
from lumen_serving.inference.turns import FairQueue
from lumen_serving.media.work import PreprocessWork
from lumen_wire.request.budget import Account, places


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
