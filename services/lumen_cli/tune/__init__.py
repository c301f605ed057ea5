"""`lumen tune`: which engine and precision computes a model best on this machine."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumen_cli.output import output_option, write_rows
from lumen_cli.output_file import PlotFile, whole_file
from lumen_cli.resources.selection import Selected, Selection, selection_options
from lumen_cli.resources.work import refuse, shown
from lumen_cli.speech import FAILED, USAGE, Format, fail, say
from lumen_local.pod.machine import gather_machine, why_absent
from lumen_manifest.spec.enums import Accelerator
from lumen_resources.errors import (
    FileMissingError,
    ResourceError,
    ResourceValidationError,
    RuntimeNotSupportedError,
    speaking,
)
from lumen_resources.sources.protocol import SourceAccess
from lumen_terms.modality import Modality

if TYPE_CHECKING:
    from lumen_cli.tune.ways import Tried, Way
    from lumen_serving.startup.trial import Trial, TrialRefused

_PICTURES = 8


@click.command("tune")
@selection_options
@click.option(
    "--accelerator",
    type=click.Choice([one.value for one in Accelerator]),
    default=Accelerator.CPU.value,
    show_default=True,
    help="The device of this machine to try.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=3.0,
    show_default=True,
    help="How long each way is measured, for pictures and for texts.",
)
@click.option("--plot", type=PlotFile(), help="Write a picture of what was found.")
@output_option
def command(
    selection: Selection, accelerator: str, seconds: float, plot: Path | None, output: str
) -> None:
    """Try every engine and precision that can compute a model here, and say which to take.

    Each runs in a process of its own, with its rate, memory, and cosine to fp32 on the same
    pictures and texts. The fastest whose vectors may be served is printed as lines of a manifest:
    by a cosine of 0.9999, and by one of 0.999 where that is another. The machine should be idle.

    \b
    Examples:
      lumen tune clip-service.yaml
      lumen tune -f clip-service.yaml --plot ways.png --output json
    """
    from lumen_cli.tune.ways import best_of, compared, ways_of

    if len(selection.models) != 1:
        fail("Name one model: this file has several, and each is tuned by itself.", USAGE)
    (selected,) = selection.models
    device = Accelerator(accelerator)
    runtime = selected.config.model.runtime
    ways = ways_of(runtime, device)
    if not ways:
        fail(f"{runtime} does not compute on {device}. Choose another runtime or device.", USAGE)
    if device not in gather_machine().accelerators:
        why = why_absent(device)
        fail(f"This machine has no {device}. {why}Choose another --accelerator.", USAGE)
    trials = {way: _tried(selected, selection.cache_dir, way, device, seconds) for way in ways}
    tried = compared(trials)
    best = best_of(tried)
    row = _row if output == Format.TABLE else _record
    rows = [row(one, best) for one in tried]
    write_rows(rows, list(rows[0]) if rows else (), output)
    _explain(trials)
    if plot is not None and tried:
        _plot(tried, selected.config.model.name, plot)
    if not best:
        fail("None of them computes vectors that may be served here.", FAILED)
    for way, bars in _bars(best).items():
        said = f"The fastest whose cosines to the reference are at least {bars[0]}"
        say("", f"{said}; below `spec:` of the manifest:", "")
        say(*way.manifest_lines().splitlines())


def _bars(best: Mapping[float, "Tried"]) -> dict["Way", list[float]]:
    """Return the bars by which each way is the fastest, highest first."""
    found: dict[Way, list[float]] = {}
    for bar, one in best.items():
        found.setdefault(one.way, []).append(bar)
    return found


def _tried(
    selected: Selected, cache: Path, way: "Way", device: Accelerator, seconds: float
) -> "Trial | TrialRefused":
    from lumen_cli.bench import drawn_jpeg
    from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
    from lumen_serving.startup.trial import TrialRefused, try_out

    config = way.applied_to(selected.config).model_copy(update={"accelerator": device})
    source = selected.source_dir
    options = FetchOptions(access=SourceAccess.from_environment(os.environ))
    try:
        with speaking(selected.door):
            shown(way.name, lambda at: fetch_and_verify(config, cache, source, at, options))
    except (RuntimeNotSupportedError, ResourceValidationError, FileMissingError) as error:
        return TrialRefused(error.message)
    except ResourceError as error:
        # What keeps one way from its files keeps all the others from theirs.
        refuse(selected.config.model.name, error)
    say(f"trying {way.name}")
    pictures = tuple(drawn_jpeg(640, 480, seed) for seed in range(_PICTURES))
    work = partial(try_out, config, (cache, source), pictures, seconds)
    # A process of its own: what one library holds and starts must not stand in another's figures.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(work).result()
        except BrokenProcessPool:
            return TrialRefused("Its process ended: perhaps there is not enough memory.")


def _row(one: "Tried", best: Mapping[float, "Tried"]) -> dict[str, Any]:
    trial = one.trial
    rates = {m: f"{speed.per_second:.1f}" for m, speed in trial.speeds.items()}
    alike = "one by one" if trial.singly else "same bytes"
    return {
        "way": f"{one.way.name}{' *' if one in best.values() else ''}",
        "pictures/s": rates.get(Modality.IMAGE),
        "texts/s": rates.get(Modality.TEXT),
        "one ms": f"{one.speed.single_ms:.1f}",
        "CPU ms": f"{one.speed.cpu_ms:.1f}",
        "batch": one.speed.batch,
        "MiB": trial.memory_mib,
        "cosine": f"{one.cosine:.6f}",
        "in a batch": alike if trial.invariant else "differs",
    }


def _record(one: "Tried", best: Mapping[float, "Tried"]) -> dict[str, Any]:
    """Return a row for machines: numbers as numbers."""
    trial, way = one.trial, one.way
    speeds = {
        f"{modality.value}{name}": value
        for modality, speed in trial.speeds.items()
        for name, value in (
            ("sPerSecond", round(speed.per_second, 2)),
            ("SingleMs", round(speed.single_ms, 3)),
            ("CpuMs", round(speed.cpu_ms, 3)),
            ("Batch", speed.batch),
        )
    }
    return {
        "runtime": way.runtime.value,
        "engine": way.engine.value if way.engine else None,
        "precision": way.precision.value,
        "computedBy": f"{trial.runtime} {trial.version}",
        "computedIn": trial.precision,
        **speeds,
        "memoryMib": trial.memory_mib,
        "cosine": round(one.cosine, 7),
        "batchInvariant": trial.invariant,
        "oneByOne": trial.singly,
        "bestAt": _bars(best).get(way, []),
    }


def _explain(trials: Mapping["Way", "Trial | TrialRefused"]) -> None:
    from lumen_serving.startup.trial import TrialRefused

    for way, trial in trials.items():
        if isinstance(trial, TrialRefused):
            say(f"{way.name}  not here: {trial.why}")


def _plot(tried: Sequence["Tried"], model: str, path: Path) -> None:
    from lumen_cli.tune.plot import write_plot

    with whole_file(path) as part:
        write_plot(tried, model, part)
    say(f"wrote {path}")
