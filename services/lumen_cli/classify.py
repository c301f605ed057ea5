"""`lumen classify`: pictures in, the cascade's answers out."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson

from lumen_cli.batch import Tally, answer_in_order
from lumen_cli.named_items import NamedItems
from lumen_cli.output import progress_bar
from lumen_cli.row_stream import StreamFormat, row_stream, stream_option
from lumen_cli.server_option import failures_explained, read_token, server_options
from lumen_cli.speech import FAILED, USAGE, fail, say
from lumen_client import AsyncClient, Classification, ClientError
from lumen_client.failures import FOR_ALL
from lumen_manifest.reading.regular_files import read_named

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
@stream_option
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
      lumen classify holiday/ --output jsonl | jq .answer
      lumen classify birds/ --include class=Aves --rank family
    """
    _refuse_missing(pictures)
    files = NamedItems(pictures)
    expectations = Expectations(expect, _read_expected(expect)) if expect else None
    parameters = {name: value for name, value in (("rank", rank), ("include", include)) if value}
    client = AsyncClient(server, token=read_token(token_file), timeout_s=timeout_s)
    tally = Tally("pictures")
    columns = _COLUMNS if output == StreamFormat.TABLE else _ALL_COLUMNS
    with (
        tally.told(),
        failures_explained(),
        row_stream(columns, output) as print_row,
        progress_bar("pictures", files.total) as advance,
    ):

        def answered(one: Answered) -> None:
            print_row(_ROWS[StreamFormat(output)](one))
            tally.count(str(one.picture), one.error)
            if expectations is not None:
                expectations.compare(one)
            advance()

        asyncio.run(_classify_all(client, files, (top_k, parameters), answered))
    files.say_left_out()
    if expectations is not None:
        expectations.say()
    if tally.failed or files.unreadable or (expectations is not None and expectations.surprises):
        raise SystemExit(FAILED)


def _refuse_missing(pictures: Sequence[Path]) -> None:
    for path in pictures:
        if path.is_symlink() and not path.exists():
            fail(f"{path} is a link that leads nowhere", USAGE)
        if not path.exists():
            fail(f"{path}: there is no such file", USAGE)


async def _classify_all(
    client: AsyncClient,
    files: Iterable[str | Path],
    asked: tuple[int | None, dict[str, str]],
    answered: Callable[[Answered], None],
) -> None:
    """Give `answered` an answer for each file, in order; `asked` are top k and parameters."""
    top_k, parameters = asked

    async def one(named: str | Path) -> Answered:
        path = Path(named)
        start_s = time.perf_counter()
        try:
            answer = await client.smart_classify(path, top_k=top_k, parameters=parameters)
        except FOR_ALL:
            raise  # nobody is there: one sentence for all pictures, not one each
        except ClientError as error:
            return Answered(path, None, str(error), _since_ms(start_s))
        return Answered(path, answer, "", _since_ms(start_s))

    async with client:
        await answer_in_order(files, one, answered)


def _since_ms(start_s: float) -> float:
    return (time.perf_counter() - start_s) * 1000


_WHY_NO_SPECIES = {
    "not_routed": "no animal: no species",
    "below_threshold": "undecided: too little speaks for an animal",
    "within_margin": "undecided between an animal and something else",
    "routed": "an animal, but no species service answered",
}
_COLUMNS = ("picture", "scene", "scene_share", "answer", "share", "ms")
_ALL_COLUMNS = (*_COLUMNS, "decision", "lineage", "source", "error")


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


def _csv_row(one: Answered) -> dict[str, Any]:
    row = _row(one)
    return dict(row, lineage="/".join(row["labels"][0]["lineage"]) if row["labels"] else "")


def _table_row(one: Answered) -> dict[str, Any]:
    """Return the row as a person reads it: names short, shares with two digits."""
    row = _row(one)
    shown = dict(row, picture=one.picture.name)
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


@dataclass(slots=True)
class Expectations:
    """What a file expects of pictures, by name, and what came otherwise."""

    file: Path
    wanted: Mapping[str, Mapping[str, str]]
    compared: int = 0
    surprises: list[str] = field(default_factory=list)

    def compare(self, one: Answered) -> None:
        """Count a picture, and note an answer that differs from what is expected."""
        self.compared += 1
        name = one.picture.name
        wanted = self.wanted.get(name)
        if wanted is None:
            self.surprises.append(f"{name}: {self.file} says nothing about it")
        elif one.answer is None:
            self.surprises.append(f"{name}: {one.error}")
        else:
            label = one.answer.labels[0].label if one.answer.labels else ""
            got = {"source": one.answer.source, "label": label}
            if any(got.get(key) != value for key, value in wanted.items()):
                self.surprises.append(f"{name}: expected {wanted}, got {got}")

    def say(self) -> None:
        """Print the surprises and how many pictures came as expected, on stderr."""
        say(*self.surprises)
        say(f"{self.compared - len(self.surprises)} of {self.compared} as expected.")


_ROWS: Mapping[StreamFormat, Callable[[Answered], dict[str, Any]]] = {
    StreamFormat.TABLE: _table_row,
    StreamFormat.CSV: _csv_row,
    StreamFormat.JSON: _row,
    StreamFormat.JSONL: _row,
}
