"""Lists one kind of object and watches it from there, for ever, whatever the API server does.

Router and operator run one per kind. A watch is resumed where it ended; when that is too long ago,
or the server says anything else about it, the objects are listed anew. What was known stays known
meanwhile; that the server is away is said once, and so is its return.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from lumen_cluster.errors import ApiError, HistoryGone, Transient
from lumen_cluster.kinds import Event, EventType, Page, Raw, Resource
from lumen_cluster.store import Store, why_left_out
from lumen_process.backoff import Backoff

BACKOFF: Final = Backoff(first_s=0.1, longest_s=10.0)
FRUITFUL_S: Final = 5.0
"""A watch that lasted so long, or reported anything, was not a failure."""
REFUSED_S: Final = 2.0
"""A refusal is said once it has lasted so long."""

log = structlog.get_logger(__name__)


class WatchEnd(StrEnum):
    """How a watch came to its end, or why there was none."""

    ORDERLY = "orderly"
    EXPIRED = "expired"
    AWAY = "away"
    REFUSED = "refused"


class WatchMetrics:
    """Figures of the watches, by the plural of the kind; their names begin with `prefix`."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        gauge, count = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self._up = gauge(
            f"{prefix}_watch_up",
            "1 while the API server tells what happens to this kind of object.",
            ["resource"],
        )
        self._heard = gauge(
            f"{prefix}_watch_heard_timestamp_seconds",
            "When the API server last said something about this kind of object.",
            ["resource"],
        )
        self._ends = count(
            f"{prefix}_watch_ends", "Watches that ended, by how.", ["resource", "end"]
        )
        self._left_out = count(
            f"{prefix}_watch_left_out",
            "Objects that were told of and left out: too large, too deep, or no object at all.",
            ["resource"],
        )

    def left_out(self, resource: str) -> None:
        """Count one object that was told of and cannot be kept."""
        self._left_out.labels(resource).inc()

    def up(self, resource: str, *, up: bool) -> None:
        """Set whether the API server tells what happens to this kind of object."""
        self._up.labels(resource).set(1 if up else 0)

    def heard(self, resource: str) -> None:
        """Take note that the API server said something."""
        self._heard.labels(resource).set_to_current_time()

    def ended(self, resource: str, end: WatchEnd) -> None:
        """Count one watch that is over."""
        self._ends.labels(resource, end.value).inc()


class ClusterReader(Protocol):
    """The two calls that the API server is asked; both raise ApiError."""

    def pages(self, resource: Resource) -> AsyncGenerator[Page, None]:
        """Yield all objects of the kind; every page has the version of the whole."""

    def watch(self, resource: Resource, version: str) -> AsyncGenerator[Event | None, None]:
        """Yield what happens after `version`; None first, once the server has agreed to tell.

        It ends when the server ends it in good order. Raises HistoryGone beside the others.
        """


class Reflector:
    """Keeps a store of one kind true."""

    def __init__(
        self, reader: ClusterReader, resource: Resource, metrics: WatchMetrics, store: Store
    ) -> None:
        self._reader = reader
        self._resource = resource
        self._plural = resource.kind.plural
        self._metrics = metrics
        self._store = store
        self._version = ""
        """Where a watch goes on; empty when the objects have to be listed first."""
        self._reports = 0
        self._established = False
        self._trouble: WatchEnd | None = None
        self._since = 0.0
        self._said: set[WatchEnd] = set()

    async def run(self) -> None:
        """Follow until it is cancelled."""
        self._metrics.up(self._plural, up=False)
        failures = 0
        while True:
            started = time.monotonic()
            trouble: ApiError | None = None
            try:
                await self._round()
            except ApiError as error:
                trouble = error
            self._metrics.ended(self._plural, self._decide(trouble))
            fruitful = self._reports > 0 or time.monotonic() - started >= FRUITFUL_S
            failures = 0 if fruitful else failures + 1
            if trouble is not None or failures:
                asked_s = trouble.retry_after_s if trouble is not None else None
                await asyncio.sleep(BACKOFF.delay_s(failures, asked_s))

    async def _round(self) -> None:
        """List if need be, then apply what the watch reports until the server ends it."""
        self._reports = 0
        self._established = False
        if not self._version:
            await self._list()
        async with aclosing(self._reader.watch(self._resource, self._version)) as events:
            async for event in events:
                self._metrics.heard(self._plural)
                if event is None:
                    self._be_established()
                    continue
                self._reports += 1
                if event.type is not EventType.BOOKMARK:
                    self._store.apply(Event(event.type, self._reduced(event.object)))
                self._version = _version_of(event.object) or self._version

    async def _list(self) -> None:
        kept, version = list[Raw](), ""
        async with aclosing(self._reader.pages(self._resource)) as pages:
            async for page in pages:
                kept += [self._reduced(item) for item in page.items]
                version = page.version
        self._store.replace(kept, version)
        self._version = version

    def _reduced(self, raw: Raw) -> Raw:
        """Reduce an object to what is kept of it; one that cannot be kept is left out alone."""
        kept = self._store.keep(raw)
        if why_left_out(kept):
            self._metrics.left_out(self._plural)
        return kept

    def _be_established(self) -> None:
        self._established = True
        self._metrics.up(self._plural, up=True)
        if self._said:
            log.info("cluster readable again", resource=self._plural)
        self._trouble = None
        self._said.clear()

    def _decide(self, trouble: ApiError | None) -> WatchEnd:
        """Decide where to go on, and say what is new.

        That a watch broke is news only when the next one is not granted.
        """
        if trouble is None:
            return WatchEnd.ORDERLY
        if isinstance(trouble, HistoryGone):
            self._version = ""
            log.info("listing anew", resource=self._plural, why=str(trouble))
            return WatchEnd.EXPIRED
        end = WatchEnd.AWAY if isinstance(trouble, Transient) else WatchEnd.REFUSED
        if not self._established:
            self._metrics.up(self._plural, up=False)
            self._say(end, str(trouble))
        return end

    def _say(self, end: WatchEnd, why: str) -> None:
        """Say each kind of trouble once.

        A server that starts refuses everybody for a moment: that is no news yet.
        """
        now = time.monotonic()
        if end is not self._trouble:
            self._trouble, self._since = end, now
        lasts = now - self._since >= REFUSED_S or end is WatchEnd.AWAY
        if lasts and end not in self._said:
            kept = "what was last known" if self._store.listed else "nothing yet"
            log.warning("cluster not readable", resource=self._plural, why=why, kept=kept)
            self._said.add(end)


def _version_of(raw: Raw) -> str:
    """Return an object's resource version, empty when it has none."""
    metadata = raw.get("metadata")
    return str(metadata.get("resourceVersion", "")) if isinstance(metadata, Mapping) else ""
