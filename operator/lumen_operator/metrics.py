"""All metrics of the operator. The labels are closed sets: kinds, conditions, reasons of errors."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from lumen_cluster.errors import ApiError, ErrorReason
from lumen_cluster.kinds import ObjectKind
from lumen_cluster.reflector import WatchMetrics
from lumen_operator.observe.kinds import WATCHED_KINDS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

Condition = tuple[str, str, str, str]
"""Kind, condition type, status, reason."""


class Replicas(NamedTuple):
    """How many pods of a service there shall be, and how many of them serve."""

    namespace: str
    service: str
    wanted: int
    ready: int


class Conditions(Collector):
    """How many objects have each condition, counted when metrics are asked for."""

    def __init__(self, count: Callable[[], Mapping[Condition, int]]) -> None:
        self._count = count

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: there may be no object yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Count the objects there are now."""
        family = GaugeMetricFamily(
            "lumen_operator_conditions",
            "Objects, by the state of their conditions.",
            labels=["kind", "condition", "status", "reason"],
        )
        for labels, objects in self._count().items():
            family.add_metric(labels, objects)
        yield family


class ServiceReplicas(Collector):
    """How many pods each service wants and has; a service that is gone has no figure."""

    def __init__(self, count: Callable[[], Iterable[Replicas]]) -> None:
        self._count = count

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: there may be no service yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Tell of the services there are now."""
        wanted, ready = (
            GaugeMetricFamily(
                f"lumen_operator_service_replicas_{name}", text, labels=["namespace", "service"]
            )
            for name, text in (
                ("wanted", "Pods that a service asks for."),
                ("ready", "Pods of a service that serve."),
            )
        )
        for each in self._count():
            wanted.add_metric((each.namespace, each.service), each.wanted)
            ready.add_metric((each.namespace, each.service), each.ready)
        yield from (wanted, ready)


BUG = "bug"
"""The label of an error that is a mistake of ours."""


def reason_of(error: BaseException) -> str:
    """Name an error for the metrics; what is not an ApiError is a mistake of ours."""
    return error.reason if isinstance(error, ApiError) else BUG


class OperatorMetrics:
    """One registry and the verbs that fill it; the work queue's watcher."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._reconciles = Counter(
            "lumen_operator_reconciles", "Reconciles that succeeded.", registry=registry
        )
        self._seconds = Histogram(
            "lumen_operator_reconcile_seconds",
            "How long one reconcile took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "lumen_operator_errors", "Reconciles that failed.", ["reason"], registry=registry
        )
        self._writes = Counter(
            "lumen_operator_writes", "Writes that succeeded.", ["kind", "verb"], registry=registry
        )
        self._vain = Counter(
            "lumen_operator_writes_in_vain",
            "Applies after which the object was as before: rendering and storing disagree.",
            ["kind"],
            registry=registry,
        )
        self._write_seconds = Histogram(
            "lumen_operator_write_seconds",
            "How long one write took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._events = Counter(
            "lumen_operator_watch_events", "Events of the watches.", ["kind"], registry=registry
        )
        self._mismatches = Counter(
            "lumen_operator_audit_mismatches",
            "Objects of which the watches told nothing, or something older.",
            ["kind"],
            registry=registry,
        )
        self.watches = WatchMetrics("lumen_operator", registry)
        self._leader = Gauge("lumen_operator_leader", "1 while this one leads.", registry=registry)
        for reason in (*ErrorReason, BUG):
            self._errors.labels(reason)
        for kind in WATCHED_KINDS:
            self._events.labels(kind.kind)
            self._mismatches.labels(kind.kind)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Read a figure whenever metrics are asked for."""
        Gauge(name, text, registry=self._registry).set_function(read)

    def count_conditions(self, count: Callable[[], Mapping[Condition, int]]) -> None:
        """Count conditions whenever metrics are asked for."""
        self._registry.register(Conditions(count))

    def count_replicas(self, count: Callable[[], Iterable[Replicas]]) -> None:
        """Count the pods of services whenever metrics are asked for."""
        self._registry.register(ServiceReplicas(count))

    def worked(self, seconds: float) -> None:
        """Count one reconcile that succeeded."""
        self._reconciles.inc()
        self._seconds.observe(seconds)

    def failed(self, error: BaseException, seconds: float) -> None:
        """Count one that failed."""
        self._errors.labels(reason_of(error)).inc()
        self._seconds.observe(seconds)

    def wrote(self, kind: ObjectKind, verb: str, seconds: float) -> None:
        """Count one write; `verb` is apply, status, create, delete or event."""
        self._writes.labels(kind.kind, verb).inc()
        self._write_seconds.observe(seconds)

    def wrote_in_vain(self, kind: ObjectKind) -> None:
        """Count one apply that changed nothing."""
        self._vain.labels(kind.kind).inc()

    def heard(self, kind: ObjectKind) -> None:
        """Count one event of a watch."""
        self._events.labels(kind.kind).inc()

    def mismatched(self, kind: ObjectKind, objects: int) -> None:
        """Count what the audit found."""
        self._mismatches.labels(kind.kind).inc(objects)

    def leads(self, leads: bool) -> None:
        """Set whether this process leads."""
        self._leader.set(1 if leads else 0)

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the text of /metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)
