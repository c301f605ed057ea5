"""The wall clock, and when it was set: what it said before cannot be compared with what it says.

Deadlines run from moments that the API server, the kubelets and earlier processes wrote down. A
clock that is set, or goes on after the machine slept, makes what just began look hours old, or
still to come. Only here is the clock compared with the monotonic one, which is never set.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

SET_S = 5.0
"""Clocks that are disciplined drift by less between two looks, and deadlines are far longer."""

log = structlog.get_logger(__name__)


def _wall() -> datetime:
    return datetime.now(UTC)


class Clock:
    """The wall clock of this process."""

    def __init__(
        self, wall: Callable[[], datetime] = _wall, steady: Callable[[], float] = monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._looked = wall(), steady()
        self._set_at: datetime | None = None

    @property
    def set_at(self) -> datetime | None:
        """What it said at first after it was last set; None while it was not, as far as seen."""
        return self._set_at

    def now(self) -> datetime:
        """Return the time, and notice when it is not what has passed since the last look."""
        wall, steady = self._wall(), self._steady()
        was, then = self._looked
        set_by = wall - was - timedelta(seconds=steady - then)
        self._looked = wall, steady
        if abs(set_by.total_seconds()) > SET_S:
            log.warning("the clock was set", by_s=round(set_by.total_seconds()))
            self._set_at = wall
        return wall

    def set_at_s(self) -> float:
        """Return `set_at` in seconds since 1970, 0 while there is none."""
        return self._set_at.timestamp() if self._set_at is not None else 0.0
