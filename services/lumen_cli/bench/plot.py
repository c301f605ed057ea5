"""A picture of a run: throughput and latency over time, and the distribution of latencies."""

from collections import Counter
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # a file is written; no display is needed

from matplotlib import pyplot as plt

from lumen_cli.bench.load import OK, Run
from lumen_cli.bench.report import PERCENTILES, percentile


def write_plot(run: Run, title: str, path: Path) -> None:
    """Write the picture of a run as the format that the suffix of `path` names."""
    figure, (rates, times, spread) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    figure.suptitle(title, parse_math=False)  # an address is not a formula
    answered = [sample for sample in run.samples if sample.code == OK]
    failed = [sample for sample in run.samples if sample.code != OK]

    per_second = Counter(int(s.at_s + s.latency_ms / 1000) for s in answered)
    seconds = range(int(run.seconds) or 1)
    rates.bar(list(seconds), [per_second[s] for s in seconds], width=0.9)
    rates.set(title="answers per second", xlabel="seconds", ylim=(0, None))

    times.plot([s.at_s for s in answered], [s.latency_ms for s in answered], ".", markersize=2)
    times.plot([s.at_s for s in failed], [s.latency_ms for s in failed], "rx", markersize=4)
    times.set(title="latency of each call (red: failed)", xlabel="seconds", ylabel="ms")
    times.set_ylim(0, None)

    ordered = sorted(s.latency_ms for s in answered)
    spread.plot(
        [percentile(ordered, p / 10) for p in range(1, 1000)], [p / 10 for p in range(1, 1000)]
    )
    for p in PERCENTILES[:4]:
        value = percentile(ordered, p)
        spread.annotate(f"p{p:g} {value:.1f} ms", (value, p), fontsize=8)
    spread.set(title="share of calls answered within", xlabel="ms", ylabel="%")
    figure.savefig(path, dpi=110)
    plt.close(figure)
