"""Health of the operator, served before the election: a standby must not be killed.

/healthz fails when a restart would help: the event loop or the queue stands still, or the watches
differ from the cluster for good. /readyz says that this process leads or stands by.
"""

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic

from lumen_process.http_status import Route, Unwell

STILL_S = 30.0
QUEUE_S = 300.0
_TEXT = "text/plain"

Problem = Callable[[], str]
"""Returns what is wrong, empty while all is well; called in the health server's thread."""


class Liveness:
    """What /healthz and /readyz answer. Checks may be added while it is served."""

    def __init__(self, ready: Callable[[], bool], clock: Callable[[], float] = monotonic) -> None:
        self._ready = ready
        self._clock = clock
        self._beat = clock()
        self._checks: list[Problem] = [self._loop_stands_still]

    def require(self, check: Problem) -> None:
        """Fail /healthz from now on while the check says that something is wrong."""
        self._checks.append(check)

    async def beat(self) -> None:
        """Show that the event loop turns, until cancelled."""
        while True:
            self._beat = self._clock()
            await asyncio.sleep(1.0)

    def routes(self) -> Mapping[str, Route]:
        """Return the paths that the kubelet asks."""
        return {"/healthz": self.health, "/readyz": self.readiness}

    def health(self) -> tuple[str, bytes]:
        """Answer /healthz; raises Unwell with every problem there is."""
        problems = [text for check in tuple(self._checks) if (text := check())]
        if problems:
            raise Unwell("; ".join(problems))
        return _TEXT, b"ok\n"

    def readiness(self) -> tuple[str, bytes]:
        """Answer /readyz; raises Unwell until the API server has answered."""
        if not self._ready():
            raise Unwell("the API server has not answered yet")
        return _TEXT, b"ok\n"

    def _loop_stands_still(self) -> str:
        still_s = self._clock() - self._beat
        return f"the event loop has stood still for {still_s:.0f} s" if still_s > STILL_S else ""


def queue_stands_still(still_s: Callable[[], float]) -> Problem:
    """Return the check that no key is worked on for too long, and that waiting ones get on."""

    def check() -> str:
        waited_s = still_s()
        return f"the queue has stood still for {waited_s:.0f} s" if waited_s > QUEUE_S else ""

    return check
