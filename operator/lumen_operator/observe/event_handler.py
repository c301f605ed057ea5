"""What the API server tells goes into the cache, and the keys it may concern into the queue.

Nothing else happens here. Every kind comes from `lumen_cluster`'s followers, which write nothing to
anybody's objects, no annotation and no finalizer, and leave out alone what cannot be read.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from lumen_cluster.kept import ODD
from lumen_cluster.kinds import ObjectKind
from lumen_cluster.metrics import WatchMetrics
from lumen_cluster.objects import Event, EventType, Raw
from lumen_cluster.reflector import ClusterReader, Reflector
from lumen_operator.observe.kinds import WATCHED_KINDS, Key, watched
from lumen_operator.observe.mapping import map_to_keys
from lumen_operator.observe.store import (
    Change,
    Name,
    ObjectCache,
    name_of,
    number_of,
    trimmed,
    uid_of,
)

log = structlog.get_logger(__name__)


class Counting(Protocol):
    """Who counts the events of the watches: metrics."""

    def heard(self, kind: ObjectKind) -> None:
        """Count one event."""


class EventHandler:
    """Where every event ends: the cache and the queue, and a sign that something came."""

    def __init__(self, cache: ObjectCache, add: Callable[[Key], None], counting: Counting) -> None:
        self._cache = cache
        self._add = add
        self._counting = counting
        self._unlisted = set(WATCHED_KINDS)
        self.followed = asyncio.Event()
        """Set once every kind was listed."""

    def heard(self, kind: ObjectKind, event: Event) -> None:
        """Take in one event, its object trimmed."""
        self._counting.heard(kind)
        raw = event.object
        if event.type is EventType.DELETED:
            self.gone(kind, name_of(raw), uid_of(raw))
        else:
            self._changed(kind, self._cache.keep(kind, raw))

    def listed(self, kind: ObjectKind, objects: Sequence[Raw], version: str) -> None:
        """Take in a whole listing, trimmed: what is kept and not in it is gone."""
        for each in objects:
            self._changed(kind, self._cache.keep(kind, each))
        names, newest = {name_of(each) for each in objects}, number_of(version)
        for name, kept in self._cache.versions(kind).items():
            # What we wrote ourselves since may be newer than the listing.
            if name not in names and kept.number <= newest:
                self.gone(kind, name, kept.uid)
        self._unlisted.discard(kind)
        if not self._unlisted:
            self.followed.set()

    def gone(self, kind: ObjectKind, name: Name, uid: str) -> None:
        """Take in that an object is gone, by a watch or by the audit."""
        self._changed(kind, self._cache.drop(kind, name, uid))

    def _changed(self, kind: ObjectKind, change: Change | None) -> None:
        if change is None:
            return
        try:
            keys = map_to_keys(self._cache, kind, change.before, change.after)
        except ODD:
            # It is kept, and looked at with its service at the next resync; the watch goes on.
            log.exception("an object cannot be read", kind=kind.kind)
            return
        for key in keys:
            self._add(key)


@dataclass(frozen=True, slots=True)
class Followed:
    """What a follower of one kind tells goes to the feed."""

    kind: ObjectKind
    feed: EventHandler

    def keep(self, raw: Raw) -> Raw:
        """Trim an object; one of a list does not say of what kind it is."""
        named = {"apiVersion": self.kind.api_version, "kind": self.kind.kind, **raw}
        return trimmed(self.kind, named)

    def replace(self, objects: Sequence[Raw], version: str) -> None:
        """Pass a whole list on."""
        self.feed.listed(self.kind, objects, version)

    def apply(self, event: Event) -> None:
        """Pass one report on."""
        self.feed.heard(self.kind, event)


def followers(
    reader: ClusterReader, feed: EventHandler, metrics: WatchMetrics, namespace: str
) -> Iterator[Reflector]:
    """Return who follows each kind, in one namespace or, if that is empty, in all."""
    for kind in WATCHED_KINDS:
        yield Reflector(reader, watched(kind, namespace), metrics, Followed(kind, feed))
