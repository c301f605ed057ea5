"""How long to wait before the next try: doubled with each failure in a row, within bounds."""

import random
from collections.abc import Callable
from dataclasses import dataclass

# Past so many doublings the power overflows long before anybody waits for it.
_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """`first_s` after the first failure, then twice as long each time, up to `longest_s`.

    Up to the share `chance` of a wait is left out at random: many who failed together must not
    come back together.
    """

    first_s: float
    longest_s: float
    chance: float = 0.5

    def delay_s(
        self,
        failures: int,
        asked_s: float | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> float:
        """Return the wait after the n-th failure in a row (1 is the first), in seconds.

        It is never shorter than what the other side asked for.

        >>> [Backoff(0.5, 30, chance=0).delay_s(n) for n in (1, 2, 3, 9)]
        [0.5, 1.0, 2.0, 30.0]
        """
        doublings = min(max(failures, 1) - 1, _DOUBLINGS)
        wait_s = min(self.longest_s, self.first_s * 2.0**doublings)
        return max(asked_s or 0.0, wait_s * (1 - self.chance * draw()))
