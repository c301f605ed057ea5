"""What the process that holds the Lease does: watch, fill the cache, audit, ask pods, reconcile.

All of it ends together, and the process with it: when the Lease is lost, when a watch cannot go
on, or when it is cancelled. The next process begins from what it observes.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import structlog

from lumen_cluster.client import ClusterClient
from lumen_cluster.election import Election, Fenced
from lumen_cluster.errors import LeaseLost
from lumen_cluster.store import name_of
from lumen_cluster.writer import ClusterWriter
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.liveness import Liveness, queue_stands_still
from lumen_operator.metrics import Condition, OperatorMetrics, Replicas
from lumen_operator.observe import decode
from lumen_operator.observe.audit import Audit, MetadataLister
from lumen_operator.observe.event_handler import EventHandler
from lumen_operator.observe.kinds import POOLS, SERVICES, WRITTEN_KINDS, Key
from lumen_operator.observe.store import ObjectCache
from lumen_operator.polling.pod_events import PodEvents
from lumen_operator.polling.status_poller import PodReports, Reach
from lumen_operator.reconcile import Reconciler
from lumen_operator.settings import OperatorSettings
from lumen_operator.workqueue import Workqueue

LEASE_LOST = 3
REST_S = 1.0
"""A rollout changes a service's objects many times in a second; its status says so once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What leading needs of the process around it."""

    settings: OperatorSettings
    client: ClusterClient
    election: Election
    liveness: Liveness
    metrics: OperatorMetrics
    reach: Reach


class Controller:
    """The work of the one operator that leads."""

    def __init__(self, outside: Dependencies) -> None:
        self._outside = outside
        self._settings = settings = outside.settings
        self._metrics = outside.metrics
        self._cache = ObjectCache()
        self._cluster = ClusterWriter(
            Fenced(outside.client, outside.election.leads), FIELD_MANAGER, WRITTEN_KINDS
        )
        self._queue: Workqueue[Key] = Workqueue(
            self._reconcile,
            outside.metrics,
            rest_s=REST_S,
            owner=None if settings.watch_namespace else lambda key: key.namespace,
        )
        self._reports = PodReports(
            self._queue.add, outside.reach, networks=settings.context.external_networks
        )
        self._feed = EventHandler(self._cache, self._queue.add, outside.metrics.heard)
        lister = MetadataLister(outside.client, settings.watch_namespace)
        self._audit = Audit(
            lister, self._cache, self._feed.gone, outside.metrics.mismatched, settings.audit_s
        )
        self._reconciler = Reconciler(
            settings,
            self._cache,
            self._cluster,
            self._reports,
            PodEvents(outside.client),
            outside.metrics,
        )
        self._show()

    async def live(self) -> None:
        """Lead, as soon as the Lease is ours, until cancelled; the process ends when it is lost."""
        await self._outside.election.acquire()
        self._metrics.leads(True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold())
            for reflector in self._feed.reflectors(
                self._outside.client, self._metrics.watches, self._settings.watch_namespace
            ):
                group.create_task(reflector.run())
            await self._feed.followed.wait()
            log.info("working", objects=sum(size for _, size in self._cache.sizes()))
            for pool in self._settings.pools:
                self._queue.add(Key("pool", "", pool.name))
            group.create_task(self._queue.run(self._settings.workers))
            group.create_task(self._audit.run())
            group.create_task(self._reports.run())

    async def _reconcile(self, key: Key) -> float | None:
        again_s = await self._reconciler.service_or_pool(key)
        if again_s is None:
            self._queue.forget(key)
        return again_s

    async def _hold(self) -> None:
        """Hold the Lease; the process ends at once when it is lost, whatever else hangs."""
        try:
            await self._outside.election.hold()
        except LeaseLost as error:
            log.error("the Lease is lost", why=str(error))  # noqa: TRY400 - no fault of ours
            os._exit(LEASE_LOST)

    def _show(self) -> None:
        """Offer what can be seen from outside: health and figures."""
        queue, metrics, liveness = self._queue, self._metrics, self._outside.liveness
        liveness.require(queue_stands_still(queue.stands_still_s))
        liveness.require(self._audit.problem)
        metrics.watch("lumen_operator_queue_depth", "Keys that wait.", queue.depth)
        metrics.watch("lumen_operator_queue_failing", "Keys that failed last time.", queue.failing)
        metrics.watch(
            "lumen_operator_queue_oldest_seconds", "How long the oldest waits.", queue.oldest_s
        )
        metrics.watch(
            "lumen_operator_clock_set_timestamp_seconds",
            "When the clock was last seen to be set.",
            self._reconciler.clock.set_at_s,
        )
        metrics.count_conditions(self._conditions)
        metrics.count_replicas(self._replicas)

    def _replicas(self) -> Iterator[Replicas]:
        """Tell what the services' statuses count; called in the server's thread."""
        for raw in self._cache.all(SERVICES):
            counts = decode.text(decode.mapping(raw, "status"), "ready").split("/")
            if len(counts) == len(("ready", "wanted")) and all(map(str.isdecimal, counts)):
                ready, wanted = map(int, counts)
                yield Replicas(*name_of(raw), wanted, ready)

    def _conditions(self) -> Mapping[Condition, int]:
        """Count the conditions of all services and pools; called in the server's thread."""
        found: Counter[Condition] = Counter()
        for kind in (SERVICES, POOLS):
            for raw in self._cache.all(kind):
                status = decode.mapping(raw, "status")
                for each in decode.items(status, "conditions"):
                    words = (decode.text(each, name) for name in ("type", "status", "reason"))
                    found[(kind.kind, *words)] += 1  # type: ignore[index]
        return found
