"""`lumen classify`: pictures in, the cascade's answers out."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from lumen_cli.output import output_option, progress_bar, write_rows
from lumen_cli.server_option import failures_explained, read_token, server_options
from lumen_cli.speech import FAILED, USAGE, Format, fail, say, write_json
from lumen_client import AsyncClient, Classification, ClientError, NotReachable
from lumen_manifest.reading.regular_files import read_named

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif"}
IN_FLIGHT = 8
MAX_EXPECT_BYTES = 16 * 1024 * 1024
BY_SPECIES = "bioclip_classification"


@dataclass(frozen=True, slots=True)
class Answered:
    """One picture with its answer, or with what went wrong."""

    picture: Path
    answer: Classification | None
    error: str
    milliseconds: float


@click.command("classify")
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top-k", type=click.IntRange(1, 1000), help="How many labels an answer holds.")
@click.option("--rank", help="Roll species up to a rank: genus, family, order, class ...")
@click.option("--include", help="Only some taxa, such as class=Aves,order=Passeriformes.")
@click.option(
    "--expect",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file {picture: {source, label}}; another answer makes the exit code 1.",
)
@server_options
@output_option
def command(
    pictures: tuple[Path, ...],
    top_k: int | None,
    rank: str | None,
    include: str | None,
    expect: Path | None,
    server: str,
    token_file: str | None,
    timeout_s: float,
    output: str,
) -> None:
    """Say what PICTURES show: CLIP names the scene and, if it is an animal, BioCLIP the species.

    PICTURES are files or folders. Shares are shares within the label set, not probabilities of
    truth.

    \b
    Examples:
      lumen classify photo.jpg
      lumen classify holiday/ --output csv > holiday.csv
      lumen classify birds/ --include class=Aves --rank family
    """
    files = _files(pictures)
    parameters = {name: value for name, value in (("rank", rank), ("include", include)) if value}
    client = AsyncClient(server, token=read_token(token_file), timeout_s=timeout_s)
    with failures_explained(server):
        answered = asyncio.run(_classify_all(client, files, top_k, parameters))
    _print(answered, output)
    surprises = _surprises(answered, expect)
    for line in surprises:
        say(line)
    if expect is not None:
        say(f"{len(answered) - len(surprises)} of {len(answered)} as expected.")
    if surprises or any(one.error for one in answered):
        raise SystemExit(FAILED)


def _files(pictures: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in pictures:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                fail(f"{path} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})", USAGE)
            files += inside
        elif path.exists():
            files.append(path)
        else:
            fail(f"{path}: there is no such file", USAGE)
    return files


async def _classify_all(
    client: AsyncClient, files: list[Path], top_k: int | None, parameters: dict[str, str]
) -> list[Answered]:
    """Return an answer for each file, in order, a few calls in flight."""
    answered: dict[Path, Answered] = {}
    gate = asyncio.Semaphore(IN_FLIGHT)
    with progress_bar("pictures", len(files)) as done:

        async def one(path: Path) -> None:
            async with gate:
                start_s = time.perf_counter()
                try:
                    answer = await client.smart_classify(path, top_k=top_k, parameters=parameters)
                except NotReachable:
                    raise  # nobody is there: one sentence for all pictures, not one each
                except ClientError as error:
                    answered[path] = Answered(path, None, str(error), _since_ms(start_s))
                else:
                    answered[path] = Answered(path, answer, "", _since_ms(start_s))
                done()

        nobody: list[BaseException] = []
        try:
            async with client, asyncio.TaskGroup() as group:
                for path in files:
                    group.create_task(one(path))
        except* NotReachable as failures:
            nobody += failures.exceptions
        # Raised out here: in there, Python 3.11.2 and older put it into a group of its own.
        if nobody:
            raise nobody[0]
    return [answered[path] for path in files]


def _since_ms(start_s: float) -> float:
    return (time.perf_counter() - start_s) * 1000


def _print(answered: list[Answered], output: str) -> None:
    rows = [_row(one) for one in answered]
    if output == Format.JSON:
        write_json(rows)
        return
    for row in rows:
        row["lineage"] = "/".join(row["labels"][0]["lineage"]) if row["labels"] else ""
    if output == Format.CSV:
        write_rows(rows, (*_COLUMNS, "decision", "lineage", "source", "error"), output)
        return
    write_rows([_table_row(row) for row in rows], _COLUMNS, output)


_WHY_NO_SPECIES = {
    "not_routed": "no animal: no species",
    "below_threshold": "undecided: too little speaks for an animal",
    "within_margin": "undecided between an animal and something else",
    "routed": "an animal, but no species service answered",
}
_COLUMNS = ("picture", "scene", "scene_share", "answer", "share", "ms")


def _row(one: Answered) -> dict[str, Any]:
    answer = one.answer
    if answer is None:
        return {"picture": str(one.picture), "labels": [], "error": one.error}
    best = answer.labels[0] if answer.labels else None
    return {
        "picture": str(one.picture),
        "scene": answer.meta.get("scene", best.label if best else ""),
        "scene_share": _number(answer.meta.get("scene_score"), 4),
        "answer": best.label if best else "",
        "share": round(best.score, 4) if best else None,
        "source": answer.source,
        "model_id": answer.model_id,
        "decision": answer.meta.get("decision", ""),
        "labels": [
            {"label": label.label, "share": label.score, "lineage": list(label.lineage)}
            for label in answer.labels
        ],
        # The server's own time; with several calls in flight the round trip says little.
        "ms": _number(answer.meta.get("lat_ms"), 3) or round(one.milliseconds, 1),
        "error": "",
    }


def _number(text: str | None, digits: int) -> float | None:
    """Return what a server wrote as a number; None when it wrote none."""
    try:
        number = float(text or "nan")
    except ValueError:
        return None
    return round(number, digits) if math.isfinite(number) else None


def _table_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row as a person reads it: names short, shares with two digits."""
    shown = dict(row, picture=Path(row["picture"]).name)
    if row["error"]:
        return dict(shown, answer=row["error"])
    shown["scene_share"] = "" if row["scene_share"] is None else f"{row['scene_share']:.2f}"
    if row["source"] == BY_SPECIES:
        lineage = row["labels"][0]["lineage"] if row["labels"] else []
        latin = " ".join(lineage[5:7]) if len(lineage) > 6 else ""
        shown["answer"] = f"{row['answer']} ({latin})" if latin else row["answer"]
        shown["share"] = f"{row['share']:.2f}"
    else:
        shown["answer"] = _WHY_NO_SPECIES.get(row["decision"], row["source"].replace("_", " "))
        shown["share"] = "-"
    return shown


def _read_expected(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Return what a file expects of each picture."""
    try:
        document = orjson.loads(read_named(path, MAX_EXPECT_BYTES))
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}", USAGE)
    except orjson.JSONDecodeError as error:
        fail(f"{path}: {error}", USAGE)
    if not isinstance(document, dict) or not all(isinstance(v, dict) for v in document.values()):
        fail(f"{path} must be an object like {{'robin.png': {{'label': 'robin'}}}}", USAGE)
    return document


def _surprises(answered: list[Answered], expect: Path | None) -> list[str]:
    """Return a line for each picture whose answer differs from what the file expects."""
    if expect is None:
        return []
    expected = _read_expected(expect)
    lines = []
    for one in answered:
        name = one.picture.name
        wanted = expected.get(name)
        if wanted is None:
            lines.append(f"{name}: {expect} says nothing about it")
        elif one.answer is not None:
            got = {
                "source": one.answer.source,
                "label": one.answer.labels[0].label if one.answer.labels else "",
            }
            if any(got.get(key) != value for key, value in wanted.items()):
                lines.append(f"{name}: expected {wanted}, got {got}")
        else:
            lines.append(f"{name}: {one.error}")
    return lines
