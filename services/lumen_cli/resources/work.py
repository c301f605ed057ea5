"""Runs resource work on a terminal: one line of progress, one block per failure, a clean Ctrl-C."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lumen_cli.output import write_rows
from lumen_cli.resources.selection import Selected
from lumen_cli.speech import end, say
from lumen_process.printable import printable
from lumen_process.wording import duration, size
from lumen_resources.errors import ResourceError, StoppedError, speaking
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import FetchPhase, Progress, ProgressSnapshot
from lumen_resources.signals import stops_on_signals

Result = TypeVar("Result")

COLUMNS = ("model", "status", "runtime", "precision", "files", "size", "revision")


def run_each(
    models: Sequence[Selected],
    work: Callable[[Selected, Progress], VerifiedModel],
    output: str,
) -> None:
    """Do the work for every model, print a row each, and exit 1 when one failed."""
    rows, failures = [], []
    for model in models:
        name = model.config.model.name
        try:
            with speaking(model.door):
                verified = shown(name, functools.partial(work, model))
        except ResourceError as error:
            failures.append((name, error))
            rows.append(_failed_row(name, model, error))
        else:
            rows.append(_row(verified))
            for warning in verified.warnings:
                say(f"{name}  {warning}")
    write_rows(rows, COLUMNS if output == "table" else (*COLUMNS, *_DETAILS), output)
    for name, failure in failures:
        explain(name, failure)
    if failures:
        raise SystemExit(1)


FAILURE = ("reason", "message", "remedy", "file")
_DETAILS = ("bytes", "root", "digest", "embeddingSpace", *FAILURE)


def _row(model: VerifiedModel) -> dict[str, Any]:
    return {
        "model": model.name,
        "status": "verified",
        "runtime": str(model.runtime),
        "precision": str(model.precision),
        "files": model.file_count,
        "size": size(model.bytes),
        "bytes": model.bytes,
        "revision": model.revision[:12],
        "root": str(model.root),
        "digest": model.digest,
        "embeddingSpace": model.embedding_space,
    }


def _failed_row(name: str, model: Selected, error: ResourceError) -> dict[str, Any]:
    return {
        "model": name,
        "status": str(error.reason),
        "runtime": str(model.config.model.runtime),
        "precision": str(model.config.model.precision),
        **failure_of(error),
    }


def failure_of(error: ResourceError) -> dict[str, str]:
    """Return what a machine is told of a failure, under the keys of FAILURE."""
    said = (str(error.reason), error.message, error.remedy, error.file)
    return dict(zip(FAILURE, said, strict=True))


def explain(name: str, error: ResourceError) -> None:
    """Print what is wrong and what to do, on stderr."""
    say(f"{name}  {error.reason}  {error.message}")
    say(f"{' ' * len(name)}  {error.remedy}")


def refuse(name: str, error: ResourceError) -> NoReturn:
    """Explain and exit 1."""
    explain(name, error)
    end(error.message, facts=failure_of(error))


def shown(name: str, work: Callable[[Progress], Result]) -> Result:
    """Run `work` with its progress on the terminal; a first Ctrl-C stops it and says so."""
    progress = Progress()
    try:
        with stops_on_signals(), progress_line(name, progress):
            return work(progress)
    except StoppedError as error:
        kept = size(progress.snapshot().bytes_done)
        said = f"Stopped. {kept} are kept; the next run goes on from there."
        say(f"  {said}")
        end(said, error.exit_code)


@contextlib.contextmanager
def progress_line(name: str, progress: Progress) -> Iterator[None]:
    """Draw one line, several times a second, when stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return

    def line() -> Text:
        return Text(printable(describe(name, progress.snapshot())))

    console = Console(stderr=True)
    with Live(get_renderable=line, console=console, refresh_per_second=5, transient=True):
        yield


def describe(name: str, now: ProgressSnapshot) -> str:
    """Return the line: what is done, how much of it, how fast, how long yet, which file."""
    parts = [name, now.phase.lower()]
    if now.files_total:
        parts.append(f"{now.files_done} of {now.files_total} files")
    if now.bytes_total:
        parts.append(f"{size(now.bytes_done)} / {size(now.bytes_total)}")
    if now.phase in {FetchPhase.FETCHING, FetchPhase.VERIFYING} and now.rate_bytes_per_s:
        parts.append(f"{size(now.rate_bytes_per_s)}/s")
        if now.eta_s is not None:
            parts.append(f"{duration(now.eta_s)} left")
    parts.append(now.file)
    return "   ".join(part for part in parts if part)
