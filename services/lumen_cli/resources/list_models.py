"""`lumen resources list`."""

import os
from pathlib import Path

import click

from lumen_cli.output import Format, output_option, say, write_rows
from lumen_cli.resources.work import size
from lumen_local.state_dir import default_cache_dir
from lumen_resources.fetch.listing import list_cache

COLUMNS = ("name", "runtimes", "size", "status", "source")
MACHINE = (
    "name",
    "version",
    "runtimes",
    "labelSets",
    "files",
    "bytes",
    "unfinishedBytes",
    "revision",
    "status",
    "source",
    "folder",
)


@click.command("list")
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="LUMEN_CACHE_DIR",
    default=lambda: default_cache_dir(os.environ),
    help="Default: the cache that `lumen up` uses.",
)
@output_option
def command(cache_dir: Path, output: str) -> None:
    """List the models that the cache holds.

    \b
    Example:
      lumen resources list --output json
    """
    table = output == Format.TABLE
    rows = [
        {
            "name": m.name,
            "version": m.version,
            "runtimes": ", ".join(m.runtimes),
            "labelSets": ", ".join(m.label_sets),
            "files": m.files,
            "size": size(m.bytes),
            "bytes": m.bytes,
            "revision": m.revision,
            "status": m.problem or "verified",
            "source": m.source,
            "folder": str(m.folder),
            "unfinishedBytes": m.unfinished_bytes,
        }
        for m in list_cache(cache_dir)
    ]
    if not rows and table:
        say(f"{cache_dir} holds no model. Fetch one: lumen resources download")
        return
    write_rows(rows, COLUMNS if table else MACHINE, output)
