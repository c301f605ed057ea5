"""The room where calls wait for a pod: bounded by count, by time and by what their bytes may be.

`forward` enters it while a service has no ready pod; the bytes are the stream's budget.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import FINAL
from lumen_router.errors import RouterFull

HELD_CALLS = 4096
HOLD_S = 30.0
RETRY_AFTER_MS = 500
# For the refusal to be made and travel: a caller learns the reason, not that its time is over.
ANSWER_BEFORE_S = 0.5

HOPELESS = FINAL | {Reason.SCALED_TO_ZERO}
"""Reasons that no waiting cures: somebody has to change something first."""


@dataclass(slots=True)
class WaitingRoom:
    """Calls that wait for a service to have a ready pod, counted per service and in all.

    One service may have three quarters of the places: calls for one that never becomes ready must
    not keep out those for one that is back in a moment.
    """

    limit: int = HELD_CALLS
    waiting: int = 0
    _by_service: dict[str, int] = field(default_factory=dict)

    @property
    def by_service(self) -> Mapping[str, int]:
        """How many calls wait for each service; services that nobody waits for are absent."""
        return self._by_service

    @contextmanager
    def enter(self, service: str) -> Iterator[None]:
        """Take a place, or raise RouterFull with the time to wait."""
        here = self._by_service.get(service, 0)
        if self.waiting >= self.limit or here >= self.limit - self.limit // 4:
            raise RouterFull(
                f"{self.waiting} calls already wait for a ready pod, {here} of them for"
                f" {service}: try again shortly",
                retry_after_ms=RETRY_AFTER_MS,
            )
        self.waiting += 1
        self._by_service[service] = here + 1
        try:
            yield
        finally:
            self.waiting -= 1
            left = self._by_service.pop(service) - 1
            if left:
                self._by_service[service] = left


def hold_at_most_s(remaining_s: float, patience_s: float) -> float:
    """Return how long a call may wait, so that its refusal still arrives within its deadline."""
    return max(0.0, min(patience_s, remaining_s - min(ANSWER_BEFORE_S, remaining_s / 10)))
