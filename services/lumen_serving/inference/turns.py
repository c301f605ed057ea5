"""Callers who wait take turns, however much each of them has waiting. Pure.

Addresses take turns, within an address its connections, and within a connection those whom it
tells of. Whoever is new or was served goes behind the others of its level: who has one item waits
for at most one of each of the others. One caller alone is served in its own order.
"""

from collections.abc import Callable, Iterator, Sized
from typing import Generic, TypeVar

from lumen_wire.request.callers import Caller

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
