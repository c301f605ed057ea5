"""`lumen embed`: vectors of texts and pictures, for a shell or a script."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lumen_cli.batch import Tally, answer_in_order
from lumen_cli.embed.vector_file import VectorFile
from lumen_cli.named_items import NamedItems
from lumen_cli.output import progress_bar
from lumen_cli.output_file import OutputFile
from lumen_cli.row_stream import StreamFormat, row_stream, stream_option
from lumen_cli.server_option import failures_explained, read_token, server_options
from lumen_cli.speech import FAILED, USAGE, fail, say
from lumen_client import AsyncClient, ClientError, Text
from lumen_client.failures import FOR_ALL

Vector = NDArray[np.float32]
COLUMNS = ("item", "dim", "vector", "error")
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Embedded:
    """One item with its vector, float32 [dim], or with what went wrong."""

    item: str
    vector: Vector | None
    error: str = ""
    truncated: bool = False


@click.command("embed")
@click.argument("items", nargs=-1)
@click.option(
    "--text",
    "texts",
    multiple=True,
    help="A text, whatever it looks like; may be given several times.",
)
@click.option(
    "--service", help="Which service embeds: an alias, a name or a family. Default: clip."
)
@click.option(
    "--out",
    type=OutputFile(".npy"),
    help="Write the vectors as a .npy file, float32 [N, dim], instead of printing them, and beside "
    "it an .items.jsonl that says which row is whose.",
)
@server_options
@stream_option
def command(
    items: tuple[str, ...],
    texts: tuple[str, ...],
    service: str | None,
    out: Path | None,
    server: str,
    token_file: str | None,
    timeout_s: float,
    output: str,
) -> None:
    """Print the embeddings of ITEMS: pictures, folders of them, or texts.

    What looks like a path is never taken for a text: --text says so.

    \b
    Examples:
      lumen embed "a red boat" photo.jpg --output json
      lumen embed photos/*.jpg --out vectors.npy
      lumen embed --text "and/or"
    """
    if not items and not texts:
        fail("Name what to embed: pictures, folders of them, or texts.", USAGE)
    named = NamedItems(items)
    client = AsyncClient(server, token=read_token(token_file), timeout_s=timeout_s)
    tally = Tally("items")
    sink = _to_file(out) if out is not None else _to_stdout(output)
    with (
        tally.told(),
        failures_explained(),
        sink as keep,
        progress_bar("items", named.total and named.total + len(texts)) as advance,
    ):
        cut = 0

        def embedded(one: Embedded) -> None:
            nonlocal cut
            tally.count(one.item, keep(one))
            cut += one.truncated
            advance()

        everything = itertools.chain(named, map(Text, texts))
        asyncio.run(_embed_all(client, everything, service, embedded))
    named.say_left_out()
    if cut:
        say(f"{cut} of the texts were longer than the model reads, and cut. Shorten or split them.")
    if tally.failed or named.unreadable:
        raise SystemExit(FAILED)


async def _embed_all(
    client: AsyncClient,
    items: Iterable[str | Path | Text],
    service: str | None,
    embedded: Callable[[Embedded], None],
) -> None:
    async def one(named: str | Path | Text) -> Embedded:
        item = named.text if isinstance(named, Text) else str(named)
        try:
            answer = await client.embed(named, service=service)
        except FOR_ALL:
            raise  # one sentence for all items, not one each
        except ClientError as error:
            return Embedded(item, None, str(error))
        return Embedded(item, answer.vector, truncated=answer.truncated)

    async with client:
        await answer_in_order(items, one, embedded)


Keep = Callable[[Embedded], str]
"""Keeps one item; returns why it could not, empty when it could."""


@contextmanager
def _to_file(out: Path) -> Iterator[Keep]:
    try:
        with VectorFile(out) as file:
            try:
                yield lambda one: _kept(file, one)
            finally:
                _say_written(file)
    except OSError as error:
        fail(f"{out} takes no more: {error.strerror}. Free space, or name another place.")


def _say_written(file: VectorFile) -> None:
    if file.rows:
        say(f"{file.path}: float32 [{file.rows}, {file.dim}]; whose they are: {file.items_path}")
    else:
        say(f"{file.path} is not written: there is no vector to keep.")


def _kept(file: VectorFile, one: Embedded) -> str:
    error = one.error
    if one.vector is not None:
        try:
            file.add(one.item, one.vector)
        except ValueError as refused:
            error = str(refused)
    if error:
        file.skip(one.item, error)
    return error


@contextmanager
def _to_stdout(output: str) -> Iterator[Keep]:
    with row_stream(COLUMNS, output) as print_row:

        def keep(one: Embedded) -> str:
            print_row(_row(one, output))
            return one.error

        yield keep


def _row(one: Embedded, output: str) -> dict[str, Any]:
    if one.vector is None:
        return {"item": one.item, "error": one.error}
    row: dict[str, Any] = {"item": one.item, "dim": len(one.vector)}
    if one.truncated:
        row["truncated"] = True
    if output in {StreamFormat.JSON, StreamFormat.JSONL}:
        return row | {"vector": [float(x) for x in one.vector]}
    shown = one.vector[:SHOWN] if output == StreamFormat.TABLE else one.vector
    return row | {"vector": " ".join(f"{x:+.4f}" for x in shown)}
