"""What the callers in the cluster say: `with traffic.undisturbed("a rollout"): ...`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kube import Kube

CALLERS = "app=caller"
_SUMMED = ("sent", "settled", "failed", "fallbacks")


@dataclass(frozen=True, slots=True)
class Totals:
    """Calls of all callers since they started.

    `settled` have their answer, and so has every call before them; `fallbacks` were answered by
    the scene alone; `slowest_ms` is the longest anybody waited.
    """

    sent: int = 0
    settled: int = 0
    failed: int = 0
    fallbacks: int = 0
    slowest_ms: int = 0


class Traffic:
    """Calls that run throughout the tests; each is accounted for in one of the phases."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._accounted = Totals()

    def totals(self) -> Totals:
        """Return how it stands, a second ago at most."""
        said = [lines for lines in self._said() if lines]
        last = [lines[-1] for lines in said]
        sums = (sum(line[name] for line in last) for name in _SUMMED)
        slowest = max((line["slowest_ms"] for lines in said for line in lines), default=0)
        return Totals(*sums, slowest)

    @contextmanager
    def undisturbed(self, what: str, *, fallbacks_allowed: bool = False) -> Iterator[None]:
        """Fail when a call since the last phase failed, or got half an answer."""
        yield
        sent = self.totals().sent
        self._kube.until(
            lambda: self.totals().settled > sent, f"the calls during {what} are answered"
        )
        before, now = self._accounted, self.totals()
        self._accounted = now
        failed, fallbacks = now.failed - before.failed, now.fallbacks - before.fallbacks
        print(
            f"{what}: {now.sent - before.sent} calls, {failed} failed, {fallbacks} answered by the "
            f"scene alone, slowest of all so far {now.slowest_ms} ms"
        )
        assert failed == 0, f"{what}: {self._failures()[-failed:][:5]}"
        assert fallbacks_allowed or fallbacks == 0, what

    def _failures(self) -> list[str]:
        return [told for lines in self._said() for line in lines for told in line["failures"]]

    def _said(self) -> list[list[dict[str, Any]]]:
        pods = sorted(self._kube.names("pods", "-l", CALLERS))
        return [
            [json.loads(line) for line in self._kube.kubectl("logs", pod).splitlines()]
            for pod in pods
        ]
