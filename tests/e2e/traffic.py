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
    """Calls of all callers since they started; `fallbacks` were answered by the scene alone."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    fallbacks: int = 0

    def __sub__(self, earlier: "Totals") -> "Totals":
        return Totals(
            *(now - before for now, before in zip(_row(self), _row(earlier), strict=True))
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls that run throughout the tests."""

    kube: Kube

    def totals(self) -> Totals:
        """Return how it stands, a second ago at most."""
        last = [lines[-1] for lines in self._said() if lines]
        return Totals(*(sum(line[name] for line in last) for name in Totals.__slots__))

    def failures(self) -> list[str]:
        """Return what calls that failed were told, of all callers."""
        return [told for lines in self._said() for line in lines for told in line["failures"]]

    @contextmanager
    def undisturbed(self, what: str, *, fallbacks_allowed: bool = False) -> Iterator[None]:
        """Fail when a call that was in flight meanwhile fails, or got half an answer."""
        before = self.totals()
        yield
        sent = self.totals().sent
        # One more call has to be sent after the end; then all that came before it are answered.
        self.kube.until(
            lambda: (now := self.totals()).answered > sent and now.sent > sent,
            f"the calls during {what} are answered",
        )
        meanwhile = self.totals() - before
        print(
            f"{what}: {meanwhile.sent} calls, {meanwhile.failed} failed, "
            f"{meanwhile.fallbacks} answered by the scene alone"
        )
        assert meanwhile.failed == 0, f"{what}: {self.failures()[-meanwhile.failed :][:5]}"
        assert fallbacks_allowed or meanwhile.fallbacks == 0, what

    def _said(self) -> list[list[dict[str, Any]]]:
        pods = sorted(self.kube.names("pods", "-l", CALLERS))
        return [
            [json.loads(line) for line in self.kube.kubectl("logs", pod).splitlines()]
            for pod in pods
        ]


def _row(totals: Totals) -> tuple[int, ...]:
    return (totals.sent, totals.answered, totals.failed, totals.fallbacks)
