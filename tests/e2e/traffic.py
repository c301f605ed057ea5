"""What the callers in the cluster say: `with traffic.undisturbed("a rollout"): ...`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kube import Kube

CALLERS = "app=caller"


@dataclass(frozen=True, slots=True)
class Totals:
    """Calls of all callers since they started."""

    sent: int
    answered: int
    failed: int
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls that run throughout the tests."""

    kube: Kube

    def totals(self) -> Totals:
        """Return how it stands, a second ago at most."""
        sent = answered = failed = 0
        failures: list[str] = []
        for pod in sorted(self.kube.names("pods", "-l", CALLERS)):
            lines = [json.loads(line) for line in self.kube.kubectl("logs", pod).splitlines()]
            if lines:
                sent += lines[-1]["sent"]
                answered += lines[-1]["answered"]
                failed += lines[-1]["failed"]
            failures += [failure for line in lines for failure in line["failures"]]
        return Totals(sent, answered, failed, tuple(failures))

    @contextmanager
    def undisturbed(self, what: str) -> Iterator[None]:
        """Fail when a call that was in flight meanwhile fails."""
        before = self.totals()
        yield
        sent = self.totals().sent
        # One more call has to be sent after the end; then all that came before it are answered.
        self.kube.until(
            lambda: (now := self.totals()).answered > sent and now.sent > sent,
            f"the calls during {what} are answered",
        )
        after = self.totals()
        print(f"{what}: {after.sent - before.sent} calls, {after.failed - before.failed} failed")
        new = after.failures[len(before.failures) :]
        assert after.failed == before.failed, f"{what}: {len(new)} calls failed: {new[:5]}"
