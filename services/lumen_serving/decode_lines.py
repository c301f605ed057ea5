"""What waits for a decode thread, and in which order it is served.

Pure but for its own state: `decoding` calls it under its lock and hands it the time.
What a payload costs is known only once its header was read, so everything comes in by the small
line. What turns out large waits apart and begins when there is memory for it; it leaves a thread
to the small ones, or takes turns with them where there is one thread, so that neither holds up
the other.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lumen_serving.engine import Item
from lumen_serving.errors import Overloaded
from lumen_serving.work import Work


@dataclass(slots=True, eq=False)
class Job:
    """An item whose payload is to be decoded; `work` once it was looked at."""

    item: Item
    look: Callable[[], Work]
    work: Work | None = None
    large: bool = False

    @property
    def peak_bytes(self) -> int:
        """The most memory that it will hold, 0 before it was looked at."""
        return self.work.peak_bytes if self.work else 0

    @property
    def seconds(self) -> float:
        """How long it will take, 0 before it was looked at."""
        return self.work.seconds if self.work else 0.0


class DecodeLines:
    """Two lines before `workers` threads that hold `memory_bytes` at most between them.

    A quarter of the memory is for small work, so that large work cannot keep it out; at most
    `most_large` jobs wait as large ones.
    """

    def __init__(self, workers: int, memory_bytes: int, most_large: int) -> None:
        self._room = {False: memory_bytes // 4, True: memory_bytes - memory_bytes // 4}
        self._held = {False: 0, True: 0}
        self._most_large = most_large
        self._small: deque[Job] = deque()
        self._large: deque[Job] = deque()
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
        self._small.append(job)

    def take(self) -> Job | None:
        """Return what a free thread should do next; None when nothing can be done now."""
        if self._large and self._is_larges_turn() and self._fits(self._large[0]):
            job = self._large.popleft()
            self._hold(job)
            self._large_running += 1
        elif self._small:
            job = self._small.popleft()
        else:
            return None
        self._large_was_last = job.large
        return job

    def begin(self, job: Job, now: float) -> bool:
        """Return whether a job that was looked at may go on at once; it waits as large otherwise.

        Raises:
            Overloaded: so many large ones wait that its turn would come too late.

        """
        if job.work is not None and not job.work.large and self._fits(job):
            self._hold(job)
            return True
        job.large = True
        self._large = deque(other for other in self._large if not other.item.abandoned)
        wait_s = sum(other.seconds for other in self._large) / self._most_running
        if len(self._large) >= self._most_large or wait_s > job.item.deadline_at - now:
            raise Overloaded(
                f"{len(self._large)} large pictures wait to be decoded. "
                "Send the picture again later, or a smaller one.",
                retry_after_ms=max(1, math.ceil(wait_s * 1000)),
            )
        self._large.append(job)
        return False

    def end(self, job: Job) -> None:
        """Take back what a job held that ran."""
        self._held[job.large] -= job.peak_bytes
        self._large_running -= job.large

    def drain(self) -> list[Job]:
        """Remove and return all that waits."""
        waiting = [*self._small, *self._large]
        self._small.clear()
        self._large.clear()
        return waiting

    def _is_larges_turn(self) -> bool:
        if self._large_running >= self._most_running:
            return False
        return not (self._small and self._large_was_last)

    def _fits(self, job: Job) -> bool:
        return self._held[job.large] + job.peak_bytes <= self._room[job.large]

    def _hold(self, job: Job) -> None:
        self._held[job.large] += job.peak_bytes
