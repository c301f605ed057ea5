"""The room where calls wait for a pod: bounded by count, by time and by what their bytes may be.

`forward` enters it while a service has no ready pod; the bytes are the stream's budget.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import FINAL
from lumen_router.errors import RouterFull
from lumen_wire.request.budget import Budget, places
from lumen_wire.request.callers import STRANGER, Caller

HELD_CALLS = 4096
HOLD_S = 30.0
RETRY_AFTER_MS = 500
# For the refusal to be made and travel: a caller learns the reason, not that its time is over.
ANSWER_BEFORE_S = 0.5

TERMINAL_REASONS = FINAL | {Reason.SCALED_TO_ZERO}
"""Reasons that no waiting cures: somebody has to change something first."""


class PendingCalls:
    """Calls that wait for a service to have a ready pod, counted per service and per caller.

    One caller may have `limit` places, of one service three quarters of them: calls for one that
    never becomes ready must not keep out those for one that is back in a moment. Callers share
    twice as many, so that a newcomer finds a place.
    """

    def __init__(self, limit: int = HELD_CALLS) -> None:
        self._limit_of_service = limit - limit // 4
        self._places = places(limit)
        self._by_service: dict[str, Budget] = {}

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._places.held

    @property
    def by_service(self) -> Mapping[str, int]:
        """How many calls wait for each service; services that nobody waits for are absent."""
        return {name: service.held for name, service in self._by_service.copy().items()}

    @contextmanager
    def enter(self, service: str, caller: Caller = STRANGER) -> Iterator[None]:
        """Take a place, or raise RouterFull with the time to wait."""
        of_service = self._by_service.setdefault(service, places(self._limit_of_service))
        accounts = [budget.account(*caller) for budget in (self._places, of_service)]
        try:
            if not all(account.try_take(1) for account in accounts):
                raise RouterFull(
                    f"{self.waiting} calls already wait for a ready pod, {of_service.held} of them"
                    f" for {service}, and this caller has its share: try again shortly",
                    retry_after_ms=RETRY_AFTER_MS,
                )
            yield
        finally:
            for account in accounts:
                account.close()
            if not of_service.callers:
                self._by_service.pop(service, None)


def hold_at_most_s(remaining_s: float, patience_s: float) -> float:
    """Return how long a call may wait, so that its refusal still arrives within its deadline."""
    return max(0.0, min(patience_s, remaining_s - min(ANSWER_BEFORE_S, remaining_s / 10)))
