"""One key, reconciled: gather what is known, decide, apply it, report it. Level-triggered.

It never asks what the event was, remembers nothing that a decision depends on but when the clock
was set, and may run twice at once. What the API server answers to a write goes into the cache at
once, so that the next decision already knows of it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic

import structlog

from lumen_cluster.errors import ApiError
from lumen_cluster.kinds import EVENTS, ObjectKind, Raw
from lumen_cluster.writer import ClusterWriter
from lumen_operator.child_writer import ChildWrites, ForeignChild, RefusedChild
from lumen_operator.children.desired import Memory
from lumen_operator.decide import (
    Decision,
    decide_default_pools,
    decide_foreign,
    decide_pool,
    decide_service,
    pods_to_ask_about,
)
from lumen_operator.diagnose.finding import Finding
from lumen_operator.diagnose.refusals import child_refused
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.observe.clock import Clock
from lumen_operator.observe.gather import Observed, gather_pool, gather_service
from lumen_operator.observe.kinds import POOLS, SERVICES, Key
from lumen_operator.observe.store import ObjectCache
from lumen_operator.polling.pod_events import PodEvents
from lumen_operator.polling.status_poller import PodReports
from lumen_operator.settings import OperatorSettings
from lumen_operator.status.events import EventNote, event_about, namespace_of_events

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What a reconcile needs; call `service_or_pool` with a key of the queue.

    `memories` has one of each service that is there; they spare work and change no decision.
    """

    settings: OperatorSettings
    cache: ObjectCache
    cluster: ClusterWriter
    reports: PodReports
    events: PodEvents
    metrics: OperatorMetrics
    memories: dict[Key, Memory] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    async def service_or_pool(self, key: Key) -> float | None:
        """Bring one service or pool nearer to what it asks for; return when to look again.

        Raises:
            ApiError: a write failed; what was decided is decided again at the next try.

        """
        return await (self._service(key) if key.kind == "service" else self._pool(key))

    async def _service(self, key: Key) -> float | None:
        now = self.clock.now()
        observed = gather_service(self.cache, self.reports.newest, key, now)
        if observed is None:
            self.reports.ask(key, ())
            self.memories.pop(key, None)
            return None
        words = await self.events.words_of(pods_to_ask_about(observed))
        observed = replace(observed, clock_set_at=self.clock.set_at, pod_words=words)
        memory = self._memory(key)
        decision = decide_service(observed, self.settings.context, now, memory)
        living = [pod.uid for pod in observed.pods]
        self.reports.ask(key, decision.poll, living)
        try:
            await self._carry_out(SERVICES, observed.raw, decision)
        except ForeignChild as taken:
            decision = decide_foreign(observed, taken.finding)
            self.reports.ask(key, decision.poll, living)
            await self._report(SERVICES, observed.raw, decision)
        except RefusedChild as refused:
            said = refused_finding(observed, refused)
            told = decide_service(observed, self.settings.context, now, memory, said)
            await self._report(SERVICES, observed.raw, told)
            raise refused.error from None
        return self._again(decision)

    def _memory(self, key: Key) -> Memory:
        """Return what is remembered of a service: nothing of a large one, whose memory is large."""
        if self.cache.is_large(key.namespace, key.name):
            self.memories.pop(key, None)
            return Memory()
        return self.memories.setdefault(key, Memory())

    async def _pool(self, key: Key) -> float | None:
        observed = gather_pool(self.cache, key)
        if observed is None:
            return await self._missing_pool(key)
        observed = replace(observed, holders_known=not self.settings.watch_namespace)
        decision = decide_pool(observed, datetime.now(UTC))
        await self._carry_out(POOLS, observed.raw, decision)
        return self._again(decision)

    async def _missing_pool(self, key: Key) -> float | None:
        """Create a default pool where it is missing; one that is being deleted is still there."""
        existing = [key.name] if self.cache.get(POOLS, "", key.name) is not None else []
        wanted = [pool for pool in self.settings.pools if pool.name == key.name]
        for manifest in decide_default_pools(existing, wanted):
            await self._create(POOLS, manifest)
        return None

    def _again(self, decision: Decision) -> float:
        """Return when to look again though nothing happens, spread so that not all do at once."""
        resync_s = self.settings.resync_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads work
        return (
            resync_s
            if decision.requeue_after_s is None
            else min(decision.requeue_after_s, resync_s)
        )

    async def _carry_out(self, kind: ObjectKind, raw: Raw, decision: Decision) -> None:
        """Write what was decided; the status is written too while the API server fails.

        Raises:
            ApiError: the first failure.
            ForeignChild: a child's name is taken; the status is not written.
            RefusedChild: a child is not taken as it is rendered; the status is not written.

        """
        failed: ApiError | None = None
        try:
            await self._write(decision)
        except ApiError as error:
            failed = error
        await self._report(kind, raw, decision)
        if failed is not None:
            raise failed

    async def _write(self, decision: Decision) -> None:
        """Apply and delete children; nothing follows a failure: pods need what comes first."""
        writes = ChildWrites(self.cluster, self.cache, self.metrics)
        if decision.look_first:
            await writes.look(decision.apply)
        for manifest in decision.apply:
            await writes.apply(manifest)
        for ref in decision.delete:
            await writes.delete(ref)

    async def _report(self, kind: ObjectKind, raw: Raw, decision: Decision) -> None:
        """Post the transitions, then write the status that remembers them."""
        await self._post(kind, raw, decision.events)
        if decision.status is not None:
            start = monotonic()
            stored = await self.cluster.write_status(kind, raw, decision.status)
            self.metrics.wrote(kind, "status", monotonic() - start)
            if stored is not None:
                self.cache.put(kind, stored)

    async def _create(self, kind: ObjectKind, manifest: Raw) -> None:
        start = monotonic()
        await self.cluster.create(kind, manifest)
        self.metrics.wrote(kind, "create", monotonic() - start)

    async def _post(self, kind: ObjectKind, raw: Raw, notes: Sequence[EventNote]) -> None:
        """Post events, best effort: a missing one must not keep the status from being written.

        Those about pools belong to a namespace in which an operator of another one has no rights.
        """
        if self.settings.watch_namespace not in {"", namespace_of_events(raw)}:
            return
        for note in notes:
            event = event_about(kind, raw, note, self.settings.identity, datetime.now(UTC))
            try:
                await self._create(EVENTS, event)
            except ApiError as error:
                log.warning("an event could not be posted", why=str(error))


def refused_finding(observed: Observed, refused: RefusedChild) -> Finding:
    """Say of a service which child is refused, and what to do about it."""
    pool = observed.service.spec.pool if observed.service is not None else None
    return child_refused(
        refused.child,
        refused.error.said,
        pool=pool or "",
        namespace=observed.key.namespace,
    )
