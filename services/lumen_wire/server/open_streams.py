"""The Infer streams that are open in a process: who goes first for want of room, and all at a stop.

What a stream costs while its client is silent cannot be counted: gRPC keeps what has come of a
message to itself. So the bound is on streams, and `memory_guard` looks at the memory itself.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Protocol

MOST_STREAMS = 4096
# Who has to go is looked for among all: not for each stream anew when thousands come at once.
_AT_ONCE = 32


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
