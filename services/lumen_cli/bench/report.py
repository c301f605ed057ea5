"""What a run of the load generator says: rates, percentiles, errors by code."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lumen_cli.bench.load import OK, Run

PERCENTILES = (50, 90, 95, 99, 99.9)


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run; latencies are of calls that were answered, in milliseconds."""

    calls: int
    answered: int
    seconds: float
    per_second: float
    mean_ms: float
    percentiles_ms: dict[str, float]
    max_ms: float
    codes: dict[str, int]
    generator_cpu_s: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of values in ascending order; 0.0 of none."""
    if not ordered:
        return 0.0
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def summarise(run: Run) -> Report:
    """Return the figures of a run."""
    ordered = sorted(sample.latency_ms for sample in run.samples if sample.code == OK)
    return Report(
        calls=len(run.samples),
        answered=len(ordered),
        seconds=run.seconds,
        per_second=len(ordered) / run.seconds if run.seconds else 0.0,
        mean_ms=sum(ordered) / len(ordered) if ordered else 0.0,
        percentiles_ms={f"p{p:g}": percentile(ordered, p) for p in PERCENTILES},
        max_ms=ordered[-1] if ordered else 0.0,
        codes=dict(sorted(Counter(sample.code for sample in run.samples).items())),
        generator_cpu_s=run.generator_cpu_s,
    )
