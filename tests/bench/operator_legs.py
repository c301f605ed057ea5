"""The two things that are compared: the operator at work, and its children applied without it."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from bare_client import Applied, BareClient, Document, bare_client
from bench_cluster import (
    OPERATOR_NAMESPACE,
    SERVICES_NAMESPACE,
    BenchCluster,
    Usage,
    cpu_s,
    memory_mib,
)
from controlplane.programs import Program, reserved_ports, wait_until
from operator_lab import BESIDE_PODS, Operator

from lumen_cli.bench.report import percentile
from lumen_manifest.default_pools import default_pools
from lumen_operator.cache import Cache
from lumen_operator.cluster import collection_path, object_path
from lumen_operator.decide import OperatorContext, decide_default_pools, decide_service
from lumen_operator.kinds import PODS, POOLS, SERVICES, Key, kind_of
from lumen_operator.observe import gather_service

Raw = dict[str, Any]

READY_WITHIN_S_EACH = 1.0
QUIET_AFTER_S = 3.0
SETTLE_WITHIN_S = 120.0
SAY_EVERY_S = 2.0


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


async def floor(cluster: BenchCluster, plan: Plan) -> Raw:
    """Apply the children of every service and wait for their pods; nobody operates."""
    names = [_name(number) for number in range(plan.services)]
    batch = {name: children_of(name) for name in names}
    readiness = Readiness(
        plan.services, lambda raw: str(raw["metadata"]["labels"]["lumen.dev/service"])
    )
    async with bare_client(cluster.users, cluster.plane.ca) as client:
        found = await _until_ready(
            client, cluster, plan, batch, readiness, collection_path(PODS, SERVICES_NAMESPACE), {}
        )
    return {**found, "children_per_service": len(batch[names[0]])}


async def operated(cluster: BenchCluster, plan: Plan) -> Raw:
    """Apply the services and wait until the operator says that they are Ready; then be quiet."""
    batch = {name: [_document(a_service(name))] for name in map(_name, range(plan.services))}
    readiness = Readiness(plan.services, lambda raw: str(raw["metadata"]["name"]))
    with _operator(cluster, plan) as operator:
        operator.start()
        await asyncio.to_thread(operator.wait_until_leading)
        pid = {"operator": operator.process.pid}
        path = collection_path(SERVICES, SERVICES_NAMESPACE)
        async with bare_client(cluster.users, cluster.plane.ca) as client:
            before = cpu_s(operator.process.pid)
            found = await _until_ready(client, cluster, plan, batch, readiness, path, pid)
            ready = operator.figures()
            await _settled(operator)
            used_s = cpu_s(operator.process.pid) - before
        after = operator.figures()
        found |= {
            "operator": {
                **memory_mib(operator.process.pid),
                "cpu_ms_per_service": round(1000 * used_s / plan.services, 2),
                "writes_per_service": round(_total(after, "writes") / plan.services, 2),
                "writes": _by_kind(after),
                "writes_in_vain": _total(after, "writes_in_vain"),
                "errors": _total(after, "errors"),
                "reconciles_per_service": round(_total(after, "reconciles") / plan.services, 2),
                "write_ms": {f"p{q}": round(1000 * quantile(ready, q / 100), 1) for q in (50, 99)},
            },
            "steady": await _steady(operator, plan),
        }
        operator.stop()
        if plan.profile is None:
            found["restart"] = await _restarted(operator, plan)
    return found


async def _until_ready(
    client: BareClient,
    cluster: BenchCluster,
    plan: Plan,
    batch: dict[str, list[Document]],
    readiness: Readiness,
    path: str,
    programs: dict[str, int],
) -> Raw:
    applied = Applied()
    programs = {**cluster.plane.pids, **programs}
    async with client.following(path, readiness.heard):
        writes, before = cluster.writes(), Usage.of(programs)
        async with asyncio.timeout(60 + READY_WITHIN_S_EACH * plan.services):
            async with asyncio.TaskGroup() as group:
                saying = group.create_task(_say(plan, applied, readiness))
                await client.apply(batch, plan.clients, applied)
                await readiness.all.wait()
                saying.cancel()
    after = Usage.of(programs)
    waited = sorted(readiness.at[name] - began for name, began in applied.began.items())
    return {
        "seconds": round(max(readiness.at.values()) - before.at, 2),
        "apply_ms": _percentiles_ms(applied.took),
        "ready_after_s": {f"p{q}": round(percentile(waited, q), 2) for q in (50, 99)},
        "api_writes_per_service": round((cluster.writes() - writes) / plan.services, 2),
        **after.since(before),
    }


async def _say(plan: Plan, applied: Applied, readiness: Readiness) -> None:
    start = time.monotonic()
    while True:
        await asyncio.sleep(SAY_EVERY_S)
        say(
            f"  {time.monotonic() - start:4.0f} s   {applied.over} of {plan.services} applied,"
            f" {len(readiness.at)} ready"
        )


async def _settled(operator: Operator) -> None:
    """Return once nothing was written for a while."""
    written, since, start = -1.0, time.monotonic(), time.monotonic()
    while time.monotonic() - since < QUIET_AFTER_S:
        if time.monotonic() - start > SETTLE_WITHIN_S:
            say("  the operator still writes")
            return
        await asyncio.sleep(0.5)
        if (now := _total(operator.figures(), "writes")) != written:
            written, since = now, time.monotonic()


async def _steady(operator: Operator, plan: Plan) -> Raw:
    """Watch it while nothing changes."""
    say(f"  all are Ready; quiet for {plan.quiet_s:g} s")
    before, cpu = operator.figures(), cpu_s(operator.process.pid)
    await asyncio.sleep(plan.quiet_s)
    after = operator.figures()
    written = _total(after, "writes") - _total(before, "writes")
    return {
        "seconds": plan.quiet_s,
        "writes_per_minute": round(60 * written / plan.quiet_s, 2),
        "reconciles": _total(after, "reconciles") - _total(before, "reconciles"),
        "cores": round((cpu_s(operator.process.pid) - cpu) / plan.quiet_s, 4),
    }


async def _restarted(operator: Operator, plan: Plan) -> Raw:
    """Start it anew beside everything that it made, until it has looked at every service."""
    say("  started anew")
    start = time.monotonic()
    operator.start()
    await asyncio.to_thread(operator.wait_until_leading)
    looked_at = lambda: operator.reconciles() >= plan.services  # noqa: E731
    await asyncio.to_thread(wait_until, looked_at, SETTLE_WITHIN_S, "every service is looked at")
    seconds = time.monotonic() - start
    await _settled(operator)
    return {
        "seconds": round(seconds, 2),
        "cpu_ms_per_service": round(1000 * cpu_s(operator.process.pid) / plan.services, 2),
        "writes": _total(operator.figures(), "writes"),
        **memory_mib(operator.process.pid),
    }


@contextmanager
def _operator(cluster: BenchCluster, plan: Plan) -> Iterator[Operator]:
    """Prepare the operator as the chart runs it: every namespace, all defaults."""
    with reserved_ports(2) as (health, metrics):
        settings = {
            "KUBECONFIG": str(cluster.operators),
            "LUMEN_POD_NAME": "operator",
            "LUMEN_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
            "LUMEN_WORKERS": str(plan.clients),
            "LUMEN_BIND": "127.0.0.1",
            "LUMEN_HEALTH_PORT": str(health),
            "LUMEN_METRICS_PORT": str(metrics),
        }
        words = [f"{name}={value}" for name, value in settings.items()]
        profiling = ["-m", "cProfile", "-o", str(plan.profile)] if plan.profile else []
        command = [sys.executable, *profiling, str(BESIDE_PODS), str(cluster.folder / "pods.sock")]
        log = cluster.folder / "operator.log"
        process = Program(["/usr/bin/env", *words, *command], log)
        try:
            yield Operator(process, health, metrics, log)
        finally:
            process.stop()


def children_of(name: str) -> list[Document]:
    """Render what the operator applies for a new service, as files without an owner."""
    cache = Cache()
    for pool in decide_default_pools((), default_pools()):
        cache.put(POOLS, pool)
    raw = a_service(name)
    raw["metadata"] |= {"uid": name, "generation": 1}
    cache.put(SERVICES, raw)
    now = datetime.now(UTC)
    observed = gather_service(cache, {}, Key("service", SERVICES_NAMESPACE, name), now)
    assert observed is not None
    rendered = decide_service(observed, OperatorContext(), now).apply
    return [_document(_without_owner(manifest)) for manifest in rendered]


def a_service(name: str) -> Raw:
    """Describe a service as a user would, on the default pool."""
    return {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "metadata": {"name": name, "namespace": SERVICES_NAMESPACE},
        "spec": {
            "family": "clip",
            "model": {"name": "MobileCLIP2-S2", "runtime": "onnx"},
            "pool": "cpu",
            "replicas": 1,
        },
    }


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


def _without_owner(manifest: Any) -> Raw:
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "ownerReferences"}
    return {**manifest, "metadata": metadata}


def _document(manifest: Raw) -> Document:
    metadata = manifest["metadata"]
    path = object_path(kind_of(manifest), metadata["namespace"], metadata["name"])
    return Document(path, orjson.dumps(manifest))


def _name(number: int) -> str:
    return f"model-{number:05}"


def _total(figures: dict[str, float], name: str) -> float:
    whole = f"lumen_operator_{name}_total"
    return sum(value for key, value in figures.items() if key.partition("{")[0] == whole)


def _by_kind(figures: dict[str, float]) -> dict[str, float]:
    start = "lumen_operator_writes_total{"
    return {
        name.removeprefix(start).rstrip("}").replace('"', ""): count
        for name, count in figures.items()
        if name.startswith(start)
    }


def _percentiles_ms(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"p{q}": round(1000 * percentile(ordered, q), 1) for q in (50, 99)}
