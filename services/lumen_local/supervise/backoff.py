"""When to try a process again: exponentially later, and afresh once it has proved stable. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartBackoff:
    """Kubernetes' crash-loop rule at a person's pace: 10 s to 5 min there, 0.5 s to 30 s here."""

    first_s: float = 0.5
    factor: float = 2.0
    longest_s: float = 30.0
    stable_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """Return how long to wait after the n-th failure in a row (1 is the first).

        >>> [Backoff().delay_s(n) for n in (1, 2, 3, 9)]
        [0.5, 1.0, 2.0, 30.0]
        """
        # Past 64 doublings the power overflows a float long before anybody waits for it.
        return min(self.longest_s, self.first_s * self.factor ** min(failures - 1, 64))

    def failures_after(self, failures: int, uptime_s: float) -> int:
        """Count one more failure; after a stable time it is the first again."""
        return 1 if uptime_s >= self.stable_s else failures + 1
