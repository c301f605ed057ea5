"""How the watches fare, on a program's own page of metrics."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge


class WatchEnd(StrEnum):
    """How a watch came to its end, or why there was none."""

    ORDERLY = "orderly"
    EXPIRED = "expired"
    AWAY = "away"
    REFUSED = "refused"


class WatchMetrics:
    """Figures of the watches, by the plural of the kind; their names begin with `prefix`."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            f"{prefix}_watch_up",
            "1 while the API server tells what happens to this kind of object.",
            ["resource"],
            registry=registry,
        )
        self._heard = Gauge(
            f"{prefix}_watch_heard_timestamp_seconds",
            "When the API server last said something about this kind of object.",
            ["resource"],
            registry=registry,
        )
        self._ends = Counter(
            f"{prefix}_watch_ends",
            "Watches that ended, by how.",
            ["resource", "end"],
            registry=registry,
        )

        self._left_out = Counter(
            f"{prefix}_watch_left_out",
            "Objects that were told of and left out: too large, too deep, or no object at all.",
            ["resource"],
            registry=registry,
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
