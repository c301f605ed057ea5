"""What kopf tells goes into the cache, and the keys it may concern into the queue: nothing else.

Only `on.event` is used: it writes nothing to anybody's objects, no annotation and no finalizer.
"""

import asyncio
import contextlib
import importlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import kopf
import orjson

from lumen_operator.affected import affected
from lumen_operator.cache import Cache, Change, Name, name_of, uid_of
from lumen_operator.cluster import label_selector
from lumen_operator.connection import Connection
from lumen_operator.kinds import WATCHED_KINDS, Key, Kind

Raw = Mapping[str, Any]

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
        self.arrived = asyncio.Event()

    def on_relist(self, tell: Callable[[Kind], None]) -> None:
        """Tell of a kind that was listed anew: deletions may have been missed."""
        self._relisted = tell

    def heard(self, kind: Kind, event: Mapping[str, Any]) -> None:
        """Take in one event; its type is None for what a listing found."""
        self._counting.heard(kind)
        raw = event["object"]
        if event["type"] == "DELETED":
            self.gone(kind, name_of(raw), uid_of(raw))
            return
        if event["type"] is None and self._cache.get(kind, *name_of(raw)) is not None:
            self._relisted(kind)
        self._changed(kind, self._cache.put(kind, raw))

    def gone(self, kind: Kind, name: Name, uid: str) -> None:
        """Take in that an object is gone, by a watch or by the audit."""
        self._changed(kind, self._cache.drop(kind, name, uid))

    def _changed(self, kind: Kind, change: Change | None) -> None:
        self.arrived.set()
        if change is not None:
            for key in affected(self._cache, kind, change.before, change.after):
                self._add(key)


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
    _read_quickly()
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
    for kind in WATCHED_KINDS:
        if selector := label_selector(kind):
            settings.watching.label_selectors[_resource(kind)] = selector
    return settings


def _read_quickly() -> None:
    """Have kopf read what the watches tell with orjson.

    kopf has no setting for it, and the standard reader is a sixth of the operator's work; it also
    makes every key of every object anew. A kopf that is built otherwise reads as it likes.
    """
    with contextlib.suppress(ImportError):
        reading = importlib.import_module("kopf._cogs.clients.api")
        if getattr(reading, "json", None) is json:
            reading.json = orjson  # type: ignore[attr-defined]  # no part of kopf's interface


def registry_of(feed: Feed, connection: Connection) -> kopf.OperatorRegistry:
    """Return kopf's registry: one handler for each watched kind, and how to log in."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await connection.credentials()

    for kind in WATCHED_KINDS:
        _watch(registry, kind, feed)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: Kind, feed: Feed) -> None:
    @kopf.on.event(*_resource(kind), registry=registry, id=f"{kind.plural}.{kind.group}")
    async def heard(event: Any, **_: Any) -> None:
        feed.heard(kind, event)


def _resource(kind: Kind) -> tuple[str, str, str]:
    return kind.group, kind.version, kind.plural
