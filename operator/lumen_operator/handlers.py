"""What the API server tells goes into the cache, and the keys it may concern into the queue.

Nothing else happens here. Our own kinds come from kopf, by `on.event` only: it writes nothing to
anybody's objects, no annotation and no finalizer. The others come from `lumen_cluster`'s followers:
twenty changes for every service are too many for a framework that looks for causes in each.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import kopf

from lumen_cluster.list_watch import ClusterReader, Follower
from lumen_cluster.metrics import WatchMetrics
from lumen_cluster.objects import Event, EventType, Raw
from lumen_operator.affected import affected
from lumen_operator.cache import Cache, Change, Name, name_of, number_of, trimmed, uid_of
from lumen_operator.cluster import watched
from lumen_operator.connection import Connection
from lumen_operator.kinds import FOLLOWED_KINDS, OWN_KINDS, Key, Kind

SERVER_TIMEOUT_S = 300
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0
INACTIVITY_TIMEOUT_S = 70.0
"""A watch hears a bookmark every minute; silence beyond that is a connection that died."""

CHUNK = 50
"""Objects of a page of a listing: they are held whole, all kinds at once, until they are kept."""


class Counting(Protocol):
    """Who counts the events of the watches: metrics."""

    def heard(self, kind: Kind) -> None:
        """Count one event."""


class Feed:
    """Where every event ends: the cache and the queue, and a sign that something came."""

    def __init__(self, cache: Cache, add: Callable[[Key], None], counting: Counting) -> None:
        self._cache = cache
        self._add = add
        self._counting = counting
        self._relisted: Callable[[Kind], None] = lambda _: None
        self._unlisted = set(FOLLOWED_KINDS)
        self.arrived = asyncio.Event()
        self.followed = asyncio.Event()
        """Set once everything was listed that is followed."""

    def on_relist(self, tell: Callable[[Kind], None]) -> None:
        """Tell of a kind that kopf listed anew: deletions may have been missed."""
        self._relisted = tell

    def heard(self, kind: Kind, type_: str | None, raw: Raw) -> None:
        """Take in one event; its type is None for what kopf's listing found."""
        self._counting.heard(kind)
        if type_ == EventType.DELETED:
            self.gone(kind, name_of(raw), uid_of(raw))
            return
        if type_ is None and self._cache.get(kind, *name_of(raw)) is not None:
            self._relisted(kind)
        self._changed(kind, self._cache.put(kind, raw))

    def listed(self, kind: Kind, objects: Sequence[Raw], version: str) -> None:
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

    def gone(self, kind: Kind, name: Name, uid: str) -> None:
        """Take in that an object is gone, by a watch or by the audit."""
        self._changed(kind, self._cache.drop(kind, name, uid))

    def _changed(self, kind: Kind, change: Change | None) -> None:
        self.arrived.set()
        if change is not None:
            for key in affected(self._cache, kind, change.before, change.after):
                self._add(key)


@dataclass(frozen=True, slots=True)
class Followed:
    """What a follower of one kind tells goes to the feed."""

    kind: Kind
    feed: Feed

    def keep(self, raw: Raw) -> Raw:
        """Trim an object of a list, which does not say of what kind it is."""
        named = {"apiVersion": self.kind.api_version, "kind": self.kind.kind, **raw}
        return trimmed(self.kind, named)

    def replace(self, objects: Sequence[Raw], version: str) -> None:
        """Pass a whole list on."""
        self.feed.listed(self.kind, objects, version)

    def apply(self, event: Event) -> None:
        """Pass one report on."""
        self.feed.heard(self.kind, event.type, event.object)


def followers(
    reader: ClusterReader, feed: Feed, metrics: WatchMetrics, namespace: str
) -> Iterator[Follower]:
    """Return who follows the kinds that are not ours, in one namespace or, if empty, in all."""
    for kind in FOLLOWED_KINDS:
        yield Follower(reader, watched(kind, namespace), metrics, Followed(kind, feed))


class _Endless:
    """Waits between tries of a watch: growing, then the same for ever."""

    def __iter__(self) -> Any:
        yield from (0.2, 0.5, 1, 2, 5)
        while True:
            yield 10


class _NothingStored(kopf.DiffBaseStorage):
    """No last-seen state: kopf would compute one of every event, for handlers we do not have."""

    def fetch(self, **_: Any) -> None:
        """Know of nothing."""

    def build(self, **_: Any) -> Any:
        """Take nothing of the object."""
        return {}

    def store(self, **_: Any) -> None:
        """Keep nothing."""


def watching_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: it watches, and does nothing else, without a line for each event."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NothingStored()
    settings.persistence.finalizer = "lumen.dev/operator"
    settings.networking.request_timeout = REQUEST_TIMEOUT_S
    settings.networking.connect_timeout = CONNECT_TIMEOUT_S
    settings.networking.error_backoffs = _Endless()
    settings.watching.server_timeout = SERVER_TIMEOUT_S
    settings.watching.connect_timeout = CONNECT_TIMEOUT_S
    settings.watching.inactivity_timeout = INACTIVITY_TIMEOUT_S
    settings.watching.reconnect_backoff = 0.1
    settings.watching.chunk_size = CHUNK
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 0.1
    return settings


def registry_of(feed: Feed, connection: Connection) -> kopf.OperatorRegistry:
    """Return kopf's registry: one handler for each of our own kinds, and how to log in."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await connection.credentials()

    for kind in OWN_KINDS:
        _watch(registry, kind, feed)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: Kind, feed: Feed) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)
    async def heard(event: Any, **_: Any) -> None:
        feed.heard(kind, event["type"], event["object"])
