"""The keyed work queue: every key is worked on by one worker at a time, and never forgotten.

Handlers, the resync, the audit and the pods' reports add keys; `Workqueue.run` hands each to the
reconcile function. A key that is added while it waits is one piece of work; added while it is
worked on, it is worked on once more. A failure puts the key back with exponential back-off and
jitter. Owners of keys take turns, and none has every worker: thousands of one namespace's keys, or
slow ones, delay no other's. Nothing here knows what a key means.
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Generic, Protocol, TypeVar

import structlog

from lumen_cluster.errors import ApiError, Refused
from lumen_operator.polling.turns import FairSchedule
from lumen_process.backoff import Backoff

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)

STALE_DATES = 64
OTHERS_SHARE = 4
"""Of so many workers, one is never taken by an owner who has the rest."""


BACKOFF = Backoff(first_s=0.5, longest_s=120.0)
REFUSED_MOST_S = 20.0
"""What the API server refuses is tried again so often: somebody corrects it, and looks."""


class Watcher(Protocol):
    """Who wants to know how the work goes: metrics."""

    def worked(self, seconds: float) -> None:
        """Count one piece of work that succeeded."""

    def failed(self, error: BaseException, seconds: float) -> None:
        """Count one that failed."""


class Workqueue(Generic[K]):
    """Keys that wait, keys in work, and keys that wait for a time."""

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        watcher: Watcher,
        *,
        rest_s: float = 0.0,
        owner: Callable[[K], str] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Take the work: it returns in how many seconds the key is due again, or None.

        After its work a key rests for `rest_s`, so that what changes in quick succession, much of
        it by our own doing, is one piece of work. Without `owner` all keys are one owner's, who
        may have every worker.
        """
        self._work = work
        self._watcher = watcher
        self._rest_s = rest_s
        self._clock = clock
        self._owner = owner
        self._turns: FairSchedule[K] = FairSchedule(at_once=1, of_one_at_once=1)
        self._moved_at = clock()
        self._waiting: dict[K, float] = {}
        self._in_work: dict[K, float] = {}
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._resting: dict[K, float] = {}
        self._resting_most = STALE_DATES
        self._changed = asyncio.Event()

    def add(self, key: K) -> None:
        """Ask for the key's work to be done soon."""
        self._due.pop(key, None)
        if key in self._in_work:  # what it reads may be older than what this tells of
            self._again.add(key)
        elif (rest_s := self._resting.get(key, 0.0) - self._clock()) > 0:
            self.add_after(key, rest_s)
        elif key not in self._waiting:
            self._resting.pop(key, None)
            if not self._waiting:
                self._moved_at = self._clock()
            self._waiting[key] = self._clock()
            self._turns.add(self._owner_of(key), self._waiting[key], key)
            self._changed.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for it in a while; an earlier date stands."""
        at = self._clock() + max(0.0, delay_s)
        if key in self._waiting or self._due.get(key, at + 1) <= at:
            return
        self._due[key] = at
        if len(self._heap) > 2 * len(self._due) + STALE_DATES:
            self._heap = [(due, next(self._order), waiting) for waiting, due in self._due.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (at, next(self._order), key))
        self._changed.set()

    def forget(self, key: K) -> None:
        """Drop what is remembered of a key that is gone: its dates and its failures."""
        self._due.pop(key, None)
        self._resting.pop(key, None)
        self._failures.pop(key, None)

    def oldest_s(self) -> float:
        """Return how long the oldest key has waited to be worked on, or has been in work.

        May be called from another thread: copies of the values are taken in one step each.
        """
        since = (*tuple(self._waiting.values()), *tuple(self._in_work.values()))
        return max(0.0, self._clock() - min(since, default=self._clock()))

    def stands_still_s(self) -> float:
        """Return for how long a key is in work, or keys wait and none was taken up.

        A long line is no reason to begin anew while it gets shorter. Any thread may call it.
        """
        now = self._clock()
        since = (*tuple(self._in_work.values()), *([self._moved_at] if self._waiting else ()))
        return max(0.0, now - min(since, default=now))

    def depth(self) -> int:
        """Return how many keys wait to be worked on now."""
        return len(self._waiting)

    def failing(self) -> int:
        """Return how many keys failed the last time."""
        return len(self._failures)

    async def run(self, workers: int) -> None:
        """Work until cancelled, on that many keys at a time; work in hand is cancelled too."""
        others = max(1, workers // OTHERS_SHARE) if self._owner is not None else 0
        self._turns.at_once, self._turns.of_one_at_once = workers, max(1, workers - others)
        async with asyncio.TaskGroup() as group:
            while True:
                owner, key = await self._next()
                self._moved_at = self._in_work[key] = self._clock()
                group.create_task(self._one(owner, key))

    async def _next(self) -> tuple[str, K]:
        while True:
            self._changed.clear()
            wait_s = self._wake_due()
            turn = self._turns.take(self._clock())
            if turn is not None:
                del self._waiting[turn[1]]
                return turn
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _owner_of(self, key: K) -> str:
        return self._owner(key) if self._owner is not None else ""

    def _wake_due(self) -> float | None:
        """Move keys whose time has come; return the seconds until the next one's."""
        now = self._clock()
        while self._heap:
            at, _, key = self._heap[0]
            if self._due.get(key) != at:
                heapq.heappop(self._heap)
            elif at <= now:
                heapq.heappop(self._heap)
                self.add(key)
            else:
                return at - now
        return None

    async def _one(self, owner: str, key: K) -> None:
        start = self._clock()
        try:
            delay_s = await self._work(key)
        except Exception as error:  # noqa: BLE001 - where failures of one key stop
            self._watcher.failed(error, self._clock() - start)
            delay_s = self._failed(key, error)
        else:
            self._failures.pop(key, None)
            self._watcher.worked(self._clock() - start)
        finally:
            self._in_work.pop(key, None)
            self._turns.done(owner)
            self._changed.set()
        if self._rest_s:
            self._rest(key)
        if key in self._again:
            self._again.discard(key)
            if key not in self._failures:  # a failure waits for its back-off
                self.add(key)
        if delay_s is not None:
            self.add_after(key, delay_s)

    def _rest(self, key: K) -> None:
        """Let a key rest; those that have rested are forgotten now and then."""
        now = self._clock()
        if len(self._resting) >= self._resting_most:
            self._resting = {each: until for each, until in self._resting.items() if until > now}
            self._resting_most = 2 * len(self._resting) + STALE_DATES
        self._resting[key] = now + self._rest_s

    def _failed(self, key: K, error: Exception) -> float:
        """Log a failure once, here, where it stops; return the seconds until the next try."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        known = error if isinstance(error, ApiError) else None
        delay_s = BACKOFF.delay_s(failures, known.retry_after_s if known else None)
        if isinstance(error, Refused):
            delay_s = min(delay_s, REFUSED_MOST_S)
        log.warning(
            "work failed and is tried again",
            key=str(key),
            why=str(error) or repr(error),
            failures=failures,
            again_in_s=round(delay_s, 1),
            exc_info=None if known else error,
        )
        return delay_s
