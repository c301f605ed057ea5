"""`lumen bench`: the one load generator, against any server that speaks the protocol."""

import asyncio
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lumen_cli.bench.load import OK, Load, Run, Sample, probe, run_load
from lumen_cli.bench.report import Report, summarise
from lumen_cli.output import write_rows
from lumen_cli.output_file import PlotFile, whole_file
from lumen_cli.server_option import read_token
from lumen_cli.speech import FAILED, USAGE, Format, fail, output_choice, say, write_json
from lumen_manifest.reading.regular_files import read_named
from lumen_wire.pb import ml_service_pb2 as pb

MAX_PICTURE_BYTES = 50 * 1024 * 1024


@click.command("bench")
@click.argument("target", default="127.0.0.1:50051")
@click.option("--task", default="image_embed", show_default=True, help="What is asked for.")
@click.option("--service", help="Which service answers: an alias, a name or a family.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A picture to send; may be given again, they go in turn. Default: a drawn JPEG.",
)
@click.option("--text", "texts", multiple=True, help="A text to send instead of pictures.")
@click.option("--size", default="1024x768", show_default=True, help="Size of the drawn JPEG.")
@click.option("--concurrency", "-c", type=click.IntRange(1, 4096), default=8, show_default=True)
@click.option("--rate", type=click.FloatRange(0.01), help="Calls a second: an open loop.")
@click.option("--duration", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True)
@click.option("--calls", type=click.IntRange(1), help="Stop after this many calls.")
@click.option("--warmup", type=click.FloatRange(0, 600), default=1.0, show_default=True)
@click.option("--timeout", type=click.FloatRange(0.01, 600), default=30.0, show_default=True)
@click.option(
    "--streams",
    type=click.Choice(["kept", "call"]),
    default="kept",
    show_default=True,
    help="One stream a worker, or one a call. An open loop always opens one a call.",
)
@click.option("--meta", multiple=True, help="Request meta as key=value; may be given again.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False))
@click.option("--plot", type=PlotFile(), help="Write a picture of the run.")
@output_choice(Format.TABLE.value, Format.JSON.value)
def command(
    target: str,
    task: str,
    service: str | None,
    images: tuple[Path, ...],
    texts: tuple[str, ...],
    size: str,
    concurrency: int,
    rate: float | None,
    duration: float,
    calls: int | None,
    warmup: float,
    timeout: float,
    streams: str,
    meta: tuple[str, ...],
    token_file: str | None,
    plot: Path | None,
    output: str,
) -> None:
    """Send load to TARGET (host:port) and print rates, percentiles and errors by code.

    \b
    Examples:
      lumen bench 127.0.0.1:50051 --task smart_classify --image photo.jpg -c 32
      lumen bench 127.0.0.1:50051 --rate 50 --duration 60 --plot run.png
      lumen bench 127.0.0.1:50051 --text "a red boat" --task embed --output json
    """
    load = Load(
        target=target.removeprefix("grpc://"),
        requests=_requests(task, _payloads(images, texts, size), _meta(service, meta)),
        concurrency=concurrency,
        rate=rate,
        duration_s=duration,
        max_calls=calls,
        warmup_s=warmup,
        timeout_s=timeout,
        streams=streams,
        metadata=_authorization(token_file),
    )
    first = asyncio.run(probe(load))
    if first.code != OK:
        said = f": {first.said.rstrip('.')}" if first.said else ""
        fail(f"{target} answered the first call with {first.code}{said}. No load was sent.")
    try:
        run = _run(load)
    except KeyboardInterrupt:
        fail("Stopped before the end; nothing is reported.", 130)
    report = summarise(run)
    _print(report, load, output)
    if plot is not None:
        _plot(run, f"{target}  {task}  {_kind(load)}", plot)
    if report.answered < report.calls:
        raise SystemExit(FAILED)


def _run(load: Load) -> Run:
    with _live(load) as on_sample, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_load(load, on_sample))


def _payloads(
    images: tuple[Path, ...], texts: tuple[str, ...], size: str
) -> list[tuple[bytes, str]]:
    if texts:
        return [(text.encode("utf-8", "replace"), "text/plain") for text in texts]
    if images:
        return [(_read_picture(path), "") for path in images]
    try:
        width, height = (int(side) for side in size.split("x"))
    except ValueError:
        fail(f"--size: {size!r} is not a size. Write it like 1024x768", USAGE)
    if not (1 <= width <= 8192 and 1 <= height <= 8192):
        fail(f"--size: {size} is out of range; a side may be 1 to 8192", USAGE)
    return [(drawn_jpeg(width, height), "image/jpeg")]


def _read_picture(path: Path) -> bytes:
    try:
        picture = read_named(path, MAX_PICTURE_BYTES)
    except OSError as error:
        fail(f"--image: {path} cannot be read: {error.strerror}", USAGE)
    if len(picture) > MAX_PICTURE_BYTES:
        fail(f"--image: {path} has more than {MAX_PICTURE_BYTES:,} bytes", USAGE)
    return picture


def drawn_jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """Return a JPEG with smooth areas, edges and some noise: it decodes like a photograph."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    generator = np.random.default_rng(seed)
    bands = [128 + 90 * np.sin(x / (37 + 11 * c + seed) + y / (53 - 7 * c)) for c in range(3)]
    pixels = np.stack(bands, axis=-1) + generator.normal(0, 8, (height, width, 3))
    pixels[height // 4 : height // 2, width // 3 : width // 2] = (200, 60, 40)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _meta(service: str | None, pairs: tuple[str, ...]) -> dict[str, str]:
    meta = {"service": service} if service else {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            fail(f"--meta: {pair!r} is not key=value", USAGE)
        meta[key] = value
    return meta


def _requests(
    task: str, payloads: list[tuple[bytes, str]], meta: dict[str, str]
) -> tuple[bytes, ...]:
    try:
        return tuple(
            pb.InferRequest(
                correlation_id="bench", task=task, payload=data, payload_mime=mime, meta=meta
            ).SerializeToString()
            for data, mime in payloads
        )
    except ValueError:
        fail("--task, --service and --meta must be Unicode texts", USAGE)


def _authorization(token_file: str | None) -> tuple[tuple[str, str], ...]:
    token = read_token(token_file)
    return (("authorization", f"Bearer {token}"),) if token else ()


def _kind(load: Load) -> str:
    return f"{load.rate:g} a second" if load.rate else f"{load.concurrency} in flight"


@contextmanager
def _live(load: Load) -> Iterator[Callable[[Sample], None] | None]:
    """Show calls, rate and errors while the run goes, on stderr, only on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    start_s = time.monotonic()
    counts = {"calls": 0, "failed": 0}
    recent: list[float] = []

    def shown() -> Text:
        seconds = time.monotonic() - start_s
        rate = counts["calls"] / seconds if seconds else math.nan
        typical = sorted(recent[-200:])[len(recent[-200:]) // 2] if recent else math.nan
        return Text(
            f"{_kind(load)}   {seconds:4.0f} of {load.duration_s + load.warmup_s:.0f} s   "
            f"{counts['calls']} calls   {rate:.1f}/s   p50 {typical:.1f} ms   "
            f"{counts['failed']} failed"
        )

    def on_sample(sample: Sample) -> None:
        counts["calls"] += 1
        counts["failed"] += sample.code != OK
        recent.append(sample.latency_ms)

    with Live(get_renderable=shown, console=console, refresh_per_second=4, transient=True):
        yield on_sample


def _plot(run: Run, title: str, path: Path) -> None:
    from lumen_cli.bench.plot import write_plot

    with whole_file(path) as part:
        write_plot(run, title, part)
    say(f"wrote {path}")


def _print(report: Report, load: Load, output: str) -> None:
    if output == Format.JSON:
        write_json(asdict(report))
        return
    row = {
        "load": _kind(load),
        "answers/s": f"{report.per_second:.1f}",
        "mean ms": f"{report.mean_ms:.1f}",
        **{name: f"{value:.1f}" for name, value in report.percentiles_ms.items()},
        "max": f"{report.max_ms:.1f}",
        "codes": "  ".join(f"{code} {count}" for code, count in report.codes.items()),
        "own CPU s": f"{report.generator_cpu_s:.2f}",
    }
    write_rows([row], list(row), output)
