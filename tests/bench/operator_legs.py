"""The two things that are compared: the operator at work, and its children applied without it."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bare_client import Applied, Document, bare_client
from bench_cluster import (
    OPERATOR_NAMESPACE,
    SERVICES_NAMESPACE,
    BenchCluster,
    Usage,
    memory_mib,
)
from bench_objects import children_of, names, service_of
from controlplane.programs import ProgramFailed, wait_until
from operator_lab import Operator, an_operator, total
from ports import reserved_ports
from processes import cpu_s

from lumen_cli.bench.report import percentile
from lumen_cluster.kinds import PODS, collection_path
from lumen_operator.observe.kinds import SERVICES

Raw = dict[str, Any]

READY_WITHIN_S_EACH = 1.0
QUIET_AFTER_S = 3.0
SETTLE_WITHIN_S = 120.0
SAY_EVERY_S = 2.0
ASK_EVERY_S = 0.5
"""A page of figures counts the conditions of all services: asked for without a pause, it would be
most of what is measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one leg is told."""

    services: int
    clients: int
    quiet_s: float
    profile: Path | None = None


@dataclass(slots=True)
class Readiness:
    """When each name was first seen ready."""

    wanted: int
    name_of: Callable[[Raw], str]
    at: dict[str, float] = field(default_factory=dict)
    all: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, raw: Raw) -> None:
        """Take in one object; pods and services say it in the same way."""
        conditions = (raw.get("status") or {}).get("conditions") or ()
        if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
            self.at.setdefault(self.name_of(raw), time.monotonic())
            if len(self.at) == self.wanted:
                self.all.set()


@dataclass(frozen=True, slots=True)
class Race:
    """One batch from its first apply until all of it is ready, and who takes part."""

    cluster: BenchCluster
    plan: Plan
    batch: dict[str, list[Document]]
    path: str
    readiness: Readiness
    programs: dict[str, int] = field(default_factory=dict)
    goes_on: Callable[[], None] = lambda: None

    async def run(self) -> Raw:
        """Run it; raises TimeoutError, or what `goes_on` raises."""
        cluster, applied = self.cluster, Applied()
        programs = {**cluster.plane.pids, **self.programs}
        async with (
            bare_client(cluster.users, cluster.plane.ca) as client,
            client.following(self.path, self.readiness.heard),
            asyncio.timeout(60 + READY_WITHIN_S_EACH * self.plan.services),
            asyncio.TaskGroup() as group,
        ):
            writes, before = cluster.writes(), Usage.of(programs)
            saying = group.create_task(self._say(applied))
            await client.apply(self.batch, self.plan.clients, applied)
            await self.readiness.all.wait()
            saying.cancel()
        after, ready_at = Usage.of(programs), self.readiness.at
        waited = sorted(ready_at[name] - began for name, began in applied.began.items())
        took = sorted(applied.took)
        return {
            "seconds": round(max(ready_at.values()) - before.at, 2),
            "apply_ms": {f"p{q}": round(1000 * percentile(took, q), 1) for q in (50, 99)},
            "ready_after_s": {f"p{q}": round(percentile(waited, q), 2) for q in (50, 99)},
            "api_writes_per_service": round((cluster.writes() - writes) / self.plan.services, 2),
            **after.since(before),
        }

    async def _say(self, applied: Applied) -> None:
        start = time.monotonic()
        while True:
            await asyncio.sleep(SAY_EVERY_S)
            self.goes_on()
            say(
                f"  {time.monotonic() - start:4.0f} s   {applied.over} of {self.plan.services}"
                f" applied, {len(self.readiness.at)} ready"
            )


async def floor(cluster: BenchCluster, plan: Plan) -> Raw:
    """Apply the children of every service and wait for their pods; nobody operates."""
    batch = {name: children_of(name) for name in names(plan.services)}
    readiness = Readiness(
        plan.services, lambda raw: str(raw["metadata"]["labels"]["lumen.dev/service"])
    )
    path = collection_path(PODS, SERVICES_NAMESPACE)
    found = await Race(cluster, plan, batch, path, readiness).run()
    return {**found, "children_per_service": len(next(iter(batch.values())))}


async def operated(cluster: BenchCluster, plan: Plan) -> Raw:
    """Apply the services and wait until the operator says that they are Ready; then be quiet."""
    with _operator(cluster, plan) as operator:
        operator.start()
        await asyncio.to_thread(operator.wait_until_leading)
        found = {**await _at_work(cluster, plan, operator), "steady": await _steady(operator, plan)}
        operator.stop()
        if plan.profile is None:
            found["restart"] = await _restarted(operator, plan)
    return found


async def _at_work(cluster: BenchCluster, plan: Plan, operator: Operator) -> Raw:
    def goes_on() -> None:
        if not operator.process.running:
            raise ProgramFailed(f"the operator ended\n{operator.process.log_tail()}")

    pid = operator.process.pid
    before_s = cpu_s(pid)
    race = Race(
        cluster,
        plan,
        {name: service_of(name) for name in names(plan.services)},
        collection_path(SERVICES, SERVICES_NAMESPACE),
        Readiness(plan.services, lambda raw: str(raw["metadata"]["name"])),
        {"operator": pid},
        goes_on,
    )
    found = await race.run()
    await _settled(operator)
    used_ms, after = 1000 * (cpu_s(pid) - before_s), operator.figures()
    return {
        **found,
        "operator": {
            **memory_mib(pid),
            "cpu_ms_per_service": round(used_ms / plan.services, 2),
            "writes_per_service": round(total(after, "writes") / plan.services, 2),
            "writes": _by_kind(after),
            "writes_in_vain": total(after, "writes_in_vain"),
            "errors": total(after, "errors"),
            "reconciles_per_service": round(total(after, "reconciles") / plan.services, 2),
            "write_ms": {f"p{q}": round(1000 * quantile(after, q / 100), 1) for q in (50, 99)},
        },
    }


async def _settled(operator: Operator) -> None:
    """Return once nothing was written for a while."""
    written, since, start = -1.0, time.monotonic(), time.monotonic()
    while time.monotonic() - since < QUIET_AFTER_S:
        if time.monotonic() - start > SETTLE_WITHIN_S:
            say("  the operator still writes")
            return
        await asyncio.sleep(ASK_EVERY_S)
        if (now := operator.total("writes")) != written:
            written, since = now, time.monotonic()


async def _steady(operator: Operator, plan: Plan) -> Raw:
    """Watch it while nothing changes."""
    say(f"  all are Ready; quiet for {plan.quiet_s:g} s")
    before, cpu = operator.figures(), cpu_s(operator.process.pid)
    await asyncio.sleep(plan.quiet_s)
    after = operator.figures()
    written = total(after, "writes") - total(before, "writes")
    return {
        "seconds": plan.quiet_s,
        "writes_per_minute": round(60 * written / plan.quiet_s, 2),
        "reconciles": total(after, "reconciles") - total(before, "reconciles"),
        "cores": round((cpu_s(operator.process.pid) - cpu) / plan.quiet_s, 4),
    }


async def _restarted(operator: Operator, plan: Plan) -> Raw:
    """Start it anew beside everything that it made, until it has looked at every service."""
    say("  started anew")
    start = time.monotonic()
    operator.start()
    await asyncio.to_thread(operator.wait_until_leading)
    looked_at = lambda: operator.reconciles() >= plan.services  # noqa: E731
    within_s = SETTLE_WITHIN_S + READY_WITHIN_S_EACH * plan.services
    what = "every service is looked at"
    await asyncio.to_thread(wait_until, looked_at, within_s, what, ASK_EVERY_S)
    seconds = time.monotonic() - start
    await _settled(operator)
    return {
        "seconds": round(seconds, 2),
        "cpu_ms_per_service": round(1000 * cpu_s(operator.process.pid) / plan.services, 2),
        "writes": operator.total("writes"),
        **memory_mib(operator.process.pid),
    }


@contextmanager
def _operator(cluster: BenchCluster, plan: Plan) -> Iterator[Operator]:
    """Prepare the operator as the chart runs it: every namespace, all defaults."""
    profiling = ["-m", "cProfile", "-o", plan.profile] if plan.profile else []
    with reserved_ports(2) as ports:
        operator = an_operator(
            cluster.folder,
            ports,
            python=profiling,
            KUBECONFIG=str(cluster.operators),
            LUMEN_OPERATOR_NAMESPACE=OPERATOR_NAMESPACE,
            LUMEN_WORKERS=str(plan.clients),
        )
        try:
            yield operator
        finally:
            operator.stop()


def quantile(figures: dict[str, float], share: float) -> float:
    """Estimate a quantile of how long the operator's writes took, within a bucket by a line."""
    prefix = 'lumen_operator_write_seconds_bucket{le="'
    buckets = sorted(
        (float(name.removeprefix(prefix).rstrip('"}')), count)
        for name, count in figures.items()
        if name.startswith(prefix)
    )
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for edge, count in buckets:
        if count >= wanted:
            return low + (min(edge, 60.0) - low) * (wanted - below) / max(count - below, 1.0)
        low, below = edge, count
    return low


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, file=sys.stderr, flush=True)


def _by_kind(figures: dict[str, float]) -> dict[str, float]:
    start = "lumen_operator_writes_total{"
    return {
        name.removeprefix(start).rstrip("}").replace('"', ""): count
        for name, count in figures.items()
        if name.startswith(start)
    }
