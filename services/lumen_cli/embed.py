"""`lumen embed`: vectors of texts and pictures, for a shell or a script."""

from pathlib import Path

import click
import numpy as np

from lumen_cli.output import output_option, write_rows
from lumen_cli.output_file import OutputFile
from lumen_cli.server_option import failures_explained, read_token, server_options
from lumen_cli.speech import Format, say, write_json
from lumen_client import Client


@click.command("embed")
@click.argument("items", nargs=-1, required=True)
@click.option(
    "--service", help="Which service embeds: an alias, a name or a family. Default: clip."
)
@click.option(
    "--out",
    type=OutputFile(),
    help="Write the vectors as a .npy file, float32 [N, dim], instead of printing them.",
)
@server_options
@output_option
def command(
    items: tuple[str, ...],
    service: str | None,
    out: Path | None,
    server: str,
    token_file: str | None,
    timeout_s: float,
    output: str,
) -> None:
    """Print the embeddings of ITEMS: paths of pictures, or texts.

    \b
    Examples:
      lumen embed "a red boat" photo.jpg --output json
      lumen embed photos/*.jpg --out vectors.npy
    """
    token = read_token(token_file)
    with failures_explained(server), Client(server, token=token, timeout_s=timeout_s) as client:
        vectors = client.encode(items, service=service)
    if out is not None:
        np.save(out, vectors)
        say(f"{out}: float32 {list(vectors.shape)}")
        return
    rows = [
        {"item": item, "dim": len(vector), "vector": [float(x) for x in vector]}
        for item, vector in zip(items, vectors, strict=True)
    ]
    if output == Format.JSON:
        write_json(rows)
        return
    for row, vector in zip(rows, vectors, strict=True):
        row["vector"] = " ".join(
            f"{x:+.4f}" for x in (vector[:6] if output == Format.TABLE else vector)
        )
    write_rows(rows, ("item", "dim", "vector"), output)
