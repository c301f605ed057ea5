"""A picture of the ways that were tried: rate, time of one item, memory."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # a file is written; no display is needed

from matplotlib import pyplot as plt

from lumen_cli.tune.ways import Tried
from lumen_terms.modality import Modality


def write_plot(tried: Sequence[Tried], model: str, path: Path) -> None:
    """Write the picture as the format that the suffix of `path` names."""
    figure, (rates, singles, memory) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    figure.suptitle(model, parse_math=False)
    names = [one.way.name for one in tried]
    places = range(len(tried))
    for shift, modality in ((-0.2, Modality.IMAGE), (0.2, Modality.TEXT)):
        speeds = [one.trial.speeds.get(modality) for one in tried]
        at = [place + shift for place in places]
        label = f"{modality.value}s"
        rates.barh(at, [s.per_second if s else 0 for s in speeds], height=0.38, label=label)
        singles.barh(at, [s.single_ms if s else 0 for s in speeds], height=0.38, label=label)
    memory.barh(list(places), [one.trial.memory_mib for one in tried], height=0.6)
    for axes, title in ((rates, "a second"), (singles, "ms for one"), (memory, "MiB")):
        axes.set_yticks(list(places), names if axes is rates else [""] * len(names))
        axes.invert_yaxis()
        axes.set_title(title)
    rates.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
