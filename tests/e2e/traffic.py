"""What the callers in the cluster say: `with traffic.undisturbed("a rollout"): ...`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kube import Kube

CALLERS = "app=caller"


@dataclass(frozen=True, slots=True)
class Totals:
    """Calls of all callers since they started.

    `settled` have their answer, and so has every call before them; `fallbacks` were answered by
    the scene alone.
    """

    sent: int = 0
    settled: int = 0
    failed: int = 0
    fallbacks: int = 0


class Traffic:
    """Calls that run throughout the tests; each is accounted for in one of the phases."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._accounted = Totals()
        self._lines_read: dict[str, int] = {}

    def totals(self) -> Totals:
        """Return how it stands, a second ago at most."""
        last = [lines[-1] for lines in self._said().values() if lines]
        return Totals(*(sum(line[name] for line in last) for name in Totals.__slots__))

    @contextmanager
    def undisturbed(self, what: str, *, fallbacks_allowed: bool = False) -> Iterator[None]:
        """Fail when a call since the last phase failed, or got half an answer."""
        yield
        sent = self.totals().sent
        self._kube.until(
            lambda: self.totals().settled > sent, f"the calls during {what} are answered"
        )
        before, now, lines = self._accounted, self.totals(), self._new_lines()
        self._accounted = now
        failed, fallbacks = now.failed - before.failed, now.fallbacks - before.fallbacks
        slowest_ms = max(line["slowest_ms"] for line in lines)
        print(
            f"{what}: {now.sent - before.sent} calls, {failed} failed, {fallbacks} answered by the "
            f"scene alone, the slowest took {slowest_ms} ms"
        )
        assert failed == 0, f"{what}: {[told for line in lines for told in line['failures']][:5]}"
        assert fallbacks_allowed or fallbacks == 0, what

    def _new_lines(self) -> list[dict[str, Any]]:
        """Return what was said since this was last asked."""
        new = []
        for pod, lines in self._said().items():
            new += lines[self._lines_read.get(pod, 0) :]
            self._lines_read[pod] = len(lines)
        return new

    def _said(self) -> dict[str, list[dict[str, Any]]]:
        pods = sorted(self._kube.names("pods", "-l", CALLERS))
        said = {pod: self._kube.kubectl("logs", pod).splitlines() for pod in pods}
        return {pod: [json.loads(line) for line in lines] for pod, lines in said.items()}
