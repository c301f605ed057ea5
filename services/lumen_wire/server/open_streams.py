"""The Infer streams that are open in a process: who goes first for want of room, and all at a stop.

What a stream costs while its client is silent cannot be counted: gRPC keeps what has come of a
message to itself. So the bound is on streams, and `MemoryGuard` looks at the memory itself: a
message that is under way is memory which only gRPC sees, up to 16 MiB on each stream. It looks
often enough that what a network brings meanwhile is far less than the rest.
"""

import asyncio
import heapq
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import structlog

from lumen_process.heap import trim_heap
from lumen_wire.request.splitting import WHOLE_MESSAGE_BYTES

MOST_STREAMS = 4096
# Who has to go is looked for among all: not for each stream anew when thousands come at once.
_AT_ONCE = 32

_EVERY_S = 0.01
# Of what the limit leaves above the process at rest, so much may be used. The rest is for what
# comes while this loop is kept busy, by those very messages: 0.7 s and 140 MiB were seen.
_SHARE = 0.5
_TOLD_EVERY_S = 60.0
_CGROUP_FILES = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_STATM = "/proc/self/statm"
log = structlog.get_logger(__name__)


class OpenStream(Protocol):
    """One stream, as its neighbours see it."""

    @property
    def peer(self) -> str:
        """Return whose it is: an address without the port."""

    @property
    def waiting_since(self) -> float | None:
        """Return since when it waits for its client, None when it does not."""

    @property
    def busy(self) -> bool:
        """Say whether requests of it are under way."""

    def give_way(self) -> None:
        """End soon, so that others have room."""


class OpenStreams:
    """All open streams of a process; used from one event loop only."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self._open: set[OpenStream] = set()
        self._by_peer: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, stream: OpenStream) -> None:
        """Count a stream; where there are too many, those that have waited longest give way.

        One peer has at most half of the room; beyond that it is its own streams that go.
        """
        if self._by_peer[stream.peer] >= self._most // 2:
            self._end(_AT_ONCE, [one for one in self._open if one.peer == stream.peer])
        elif len(self._open) >= self._most:
            self.end_waiting(_AT_ONCE)
        self._open.add(stream)
        self._by_peer[stream.peer] += 1

    def leave(self, stream: OpenStream) -> None:
        """Forget a stream that has ended, or was told to."""
        if stream not in self._open:
            return
        self._open.remove(stream)
        self._by_peer[stream.peer] -= 1
        if not self._by_peer[stream.peer]:
            del self._by_peer[stream.peer]

    def end_waiting(self, count: int) -> int:
        """End as many streams as that: idle ones before busy ones, the longest waiting first."""
        return self._end(count, list(self._open))

    def _end(self, count: int, streams: list[OpenStream]) -> int:
        waiting = [
            (one.busy, since, id(one), one) for one in streams if (since := one.waiting_since)
        ]
        chosen = [stream for *_, stream in heapq.nsmallest(count, waiting)]
        for stream in chosen:
            self.leave(stream)
            stream.give_way()
        return len(chosen)


class Drain:
    """A switch that tells every open stream, once, to end as soon as it is idle."""

    def __init__(self) -> None:
        self._listeners: set[Callable[[], None]] = set()
        self._begun = False

    @property
    def begun(self) -> bool:
        """Say whether the process is stopping."""
        return self._begun

    def begin(self) -> None:
        """Tell all streams, also those that are opened later."""
        self._begun = True
        for listener in tuple(self._listeners):
            listener()

    def add(self, listener: Callable[[], None]) -> None:
        """Call `listener` at `begin`."""
        self._listeners.add(listener)

    def discard(self, listener: Callable[[], None]) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)


def memory_limit_bytes(told_bytes: int = 0) -> int | None:
    """Return what this process may use, None where nothing says so.

    That is the least of what it was told (0: nothing), its container's limit, the machine's memory.
    """
    found = [told_bytes]
    for file in _CGROUP_FILES:
        with suppress(OSError, ValueError):
            found.append(int(file.read_text("ascii")))
    with suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((limit for limit in found if limit > 0), default=None)


def own_memory() -> Callable[[], int] | None:
    """Return what tells this process's own resident bytes, None where the system does not.

    Without pages of files, such as a mapped model: the system takes those back by itself.
    """
    try:
        statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    page_bytes = os.sysconf("SC_PAGE_SIZE")

    def read() -> int:
        fields = os.pread(statm, 128, 0).split()
        return (int(fields[1]) - int(fields[2])) * page_bytes

    return read


@dataclass(slots=True, eq=False)
class MemoryGuard:
    """Watches one process while it is entered; without a limit or a measure it does nothing."""

    streams: OpenStreams
    limit_bytes: int | None
    measure: Callable[[], int] | None
    release: Callable[[], None] = trim_heap
    _threshold_bytes: int = 0
    _rest_bytes: int = 0
    _quiet_until: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Take what the process has now for what it needs at rest, and watch from here on."""
        if self.measure is not None and self.limit_bytes is not None:
            rest_bytes = self._rest_bytes = self.measure()
            self._threshold_bytes = rest_bytes + int(_SHARE * (self.limit_bytes - rest_bytes))
            if rest_bytes < self._threshold_bytes:
                self._look()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        assert self.measure is not None, "entered without a measure"
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look)
        if self.measure() > self._threshold_bytes:
            self._relieve(self.measure)

    def _relieve(self, measure: Callable[[], int]) -> None:
        """Give freed pages back; where that is not enough, end streams."""
        self.release()
        held_bytes = measure()
        excess_bytes = held_bytes - self._threshold_bytes
        if excess_bytes <= 0:
            return
        # As many as hold the excess, taking each for an average one: what comes meanwhile on all
        # others is more than a few would give back. Ending one costs a millisecond, and a hostile
        # client opens the next at once: good calls need their share of this loop.
        each_bytes = (held_bytes - self._rest_bytes) // max(len(self.streams), 1)
        each_bytes = min(max(each_bytes, 1), WHOLE_MESSAGE_BYTES)
        count = max(-(-excess_bytes // each_bytes), len(self.streams) // 64)
        self._tell(held_bytes, self.streams.end_waiting(count))

    def _tell(self, held_bytes: int, ended: int) -> None:
        """Say so, but not at every look for as long as it goes on."""
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until or not ended:
            return
        self._quiet_until = now + _TOLD_EVERY_S
        log.warning(
            "memory nears its limit: streams that waited longest for their clients are ended",
            held_mib=held_bytes >> 20,
            limit_mib=(self.limit_bytes or 0) >> 20,
            streams=len(self.streams),
            ended=ended,
        )
