"""Which pod gets a call, and whether a failed call may be tried again. Pure.

`forward` calls these; nothing here knows gRPC, time or the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

ALL_COMPARED = 8
"""Up to this many pods all are compared; above, the better of two random ones is as good."""

RETRY_RATIO = 0.2
RETRY_BURST = 50.0


class HasLoad(Protocol):
    """Something that can be more or less busy."""

    @property
    def outstanding(self) -> int:
        """Calls that were sent and are not answered."""


LoadedT = TypeVar("LoadedT", bound=HasLoad)


def choose_least_outstanding(
    candidates: Sequence[LoadedT], below: Callable[[int], int]
) -> LoadedT | None:
    """Return the least busy candidate, None when there are none.

    `below(n)` gives a random integer in [0, n). Equal candidates share the calls: the scan
    begins at a random one.
    """
    count = len(candidates)
    if count < 2:
        return candidates[0] if candidates else None
    start = below(count)
    if count <= ALL_COMPARED:
        turned = (candidates[(start + i) % count] for i in range(count))
        return min(turned, key=lambda candidate: candidate.outstanding)
    other = below(count - 1)
    if other >= start:
        other += 1
    return min(candidates[start], candidates[other], key=lambda candidate: candidate.outstanding)


def choose_weighted(weights: Sequence[int], roll: float) -> int | None:
    """Return the index whose share of the weights holds `roll` in [0, 1), None if all are 0."""
    total = sum(weights)
    if total <= 0:
        return None
    mark = roll * total
    for index, weight in enumerate(weights):
        mark -= weight
        if weight > 0 and mark < 0:
            return index
    return max(index for index, weight in enumerate(weights) if weight > 0)


@dataclass(slots=True)
class RetryBudget:
    """A token bucket: each call earns `ratio` of a retry, at most `burst` are saved up.

    It keeps retries from multiplying the load of a service that is down for everyone, and the
    burst lets all calls of one killed pod move on at once.
    """

    ratio: float = RETRY_RATIO
    burst: float = RETRY_BURST
    tokens: float = RETRY_BURST

    def earn(self) -> None:
        """Count one first attempt."""
        self.tokens = min(self.burst, self.tokens + self.ratio)

    def spend(self) -> bool:
        """Take one retry if there is one left."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
