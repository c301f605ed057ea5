"""What the API server tells goes into the cache, and the keys it may concern into the queue.

Nothing else happens here. Every kind comes from `lumen_cluster`'s reflectors, which write nothing
to anybody's objects, no annotation and no finalizer, and leave out alone what cannot be read.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import structlog

from lumen_cluster.kinds import ObjectKind
from lumen_cluster.reflector import ClusterReader, Reflector, WatchMetrics
from lumen_cluster.store import ODD, Change, Name
from lumen_operator.observe.kinds import WATCHED_KINDS, Key, watched
from lumen_operator.observe.mapping import map_to_keys
from lumen_operator.observe.store import ObjectCache

log = structlog.get_logger(__name__)


class EventHandler:
    """Where every event ends: the cache and the queue; `heard` counts that something came."""

    def __init__(
        self,
        cache: ObjectCache,
        add: Callable[[Key], None],
        heard: Callable[[ObjectKind], None],
    ) -> None:
        self._cache = cache
        self._add = add
        self._unlisted = set(WATCHED_KINDS)
        self.followed = asyncio.Event()
        """Set once every kind was listed."""
        for kind, store in cache.stores.items():
            store.on_event = partial(heard, kind)
            store.on_change = partial(self._changed, kind)

    def gone(self, kind: ObjectKind, name: Name, uid: str) -> None:
        """Take in that an object is gone, as the audit found."""
        if change := self._cache.drop(kind, name, uid):
            self._changed(kind, change)

    def reflectors(
        self, reader: ClusterReader, metrics: WatchMetrics, namespace: str
    ) -> Iterator[Reflector]:
        """Return who follows each kind, in one namespace or, if that is empty, in all."""
        for kind, store in self._cache.stores.items():
            yield Reflector(reader, watched(kind, namespace), metrics, store)

    def _changed(self, kind: ObjectKind, change: Change | None) -> None:
        if change is None:
            self._unlisted.discard(kind)
            if not self._unlisted:
                self.followed.set()
            return
        try:
            keys = map_to_keys(self._cache, kind, change.before, change.after)
        except ODD:
            # It is kept, and looked at with its service at the next resync; the watch goes on.
            log.exception("an object cannot be read", kind=kind.kind)
            return
        for key in keys:
            self._add(key)
