"""All metrics of the router. The labels are closed sets and the names of current services."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from lumen_cluster.reflector import WatchMetrics
from lumen_wire.tasks import TaskKind

UNKNOWN = "unknown"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_KINDS = (*TaskKind, UNKNOWN)


class Now(Collector):
    """Figures that are read when asked for: (name, help, rows of service and value)."""

    def __init__(
        self, read: Callable[[], Iterable[tuple[str, str, Sequence[tuple[str, float]]]]]
    ) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: there may be no service yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read every figure of the services there are now."""
        for name, text, rows in self._read():
            family = GaugeMetricFamily(name, text, labels=["service"])
            for service, value in rows:
                family.add_metric([service], value)
            yield family


class RouterMetrics:
    """One registry and the verbs that fill it."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        count = partial(Counter, registry=registry)
        spread = partial(Histogram, registry=registry, buckets=_SECONDS)
        gauge = partial(Gauge, registry=registry)
        self._requests = count(
            "lumen_router_requests", "Requests answered.", ["service", "task", "code"]
        )
        self._seconds = spread(
            "lumen_router_request_seconds",
            "From the complete request to its answer.",
            ["service", "task"],
        )
        self._cascade = count(
            "lumen_router_cascade",
            "What smart_classify decided, and which stage answered.",
            ["decision", "source"],
        )
        self._retries = count(
            "lumen_router_retries",
            "Calls sent to another pod, by the code that the first one gave.",
            ["service", "code"],
        )
        self._held = count(
            "lumen_router_held",
            "Calls that had to wait for a ready pod, by what became of them.",
            ["service", "outcome"],
        )
        self._held_seconds = spread(
            "lumen_router_held_seconds", "How long calls waited for a ready pod.", ["service"]
        )
        self._ready = gauge("lumen_router_ready", "1 while the router serves.")
        self._services: frozenset[str] = frozenset()
        # To find a series by its labels costs more than to count in it.
        self._done: dict[tuple[str, TaskKind | None, str], tuple[Counter, Histogram]] = {}
        self.watches = WatchMetrics("lumen_router", registry)
        self._routes_built = count(
            "lumen_router_routes_built",
            "How often the routes were built anew from the cluster's objects.",
        )
        self._unusable = gauge(
            "lumen_router_objects_unusable",
            "Objects of the cluster that cannot be read and are left out of the routes.",
        )

    def routes_built(self, unusable: int) -> None:
        """Count one building of the routes, and say how many objects it had to leave out."""
        self._routes_built.inc()
        self._unusable.set(unusable)

    def watch(self, now: Now) -> None:
        """Read those figures whenever metrics are asked for."""
        self._registry.register(now)

    def request_done(self, service: str, kind: TaskKind | None, code: str, seconds: float) -> None:
        """Count an answered request; `service` is empty when none could be found."""
        series = self._done.get((service, kind, code))
        if series is None:
            task = UNKNOWN if kind is None else kind.value
            series = self._requests.labels(service, task, code), self._seconds.labels(service, task)
            self._done[service, kind, code] = series
        count, duration = series
        count.inc()
        duration.observe(seconds)

    def decided(self, decision: str, source: str) -> None:
        """Count one answer of smart_classify; both words are of closed sets of the cascade's."""
        self._cascade.labels(decision, source).inc()

    def retried(self, service: str, code: grpc.StatusCode) -> None:
        """Count one more attempt."""
        self._retries.labels(service, code.name).inc()

    def held(self, service: str, seconds: float, *, served: bool) -> None:
        """Count one wait for a ready pod that is over."""
        self._held.labels(service, "served" if served else "refused").inc()
        self._held_seconds.labels(service).observe(seconds)

    def ready(self, ready: bool) -> None:
        """Set whether the router serves."""
        self._ready.set(1 if ready else 0)

    def keep_only(self, services: Iterable[str]) -> None:
        """Drop the series of services that are gone, so that names do not pile up."""
        kept = frozenset(services)
        for gone in self._services - kept:
            self._drop(gone)
        self._services = kept

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the text of /metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def _drop(self, service: str) -> None:
        for metric in (self._requests, self._seconds, self._retries, self._held):
            metric.remove_by_labels({"service": service})
        self._held_seconds.remove_by_labels({"service": service})
        self._done.clear()
