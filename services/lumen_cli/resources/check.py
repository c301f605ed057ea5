"""`lumen resources check`."""

import click

from lumen_cli.output import output_option
from lumen_cli.resources.selection import Selection, selection_options
from lumen_cli.resources.work import run_each
from lumen_resources.fetch.fetch import open_verified


@click.command("check")
@selection_options
@output_option
def command(selection: Selection, output: str) -> None:
    """Tell whether a server could start from what is here, as quickly as it would.

    Files that did not change since they were verified are not read again; `verify` reads all.

    \b
    Examples:
      lumen resources check -f clip-service.yaml
      lumen resources check bioclip-2 --runtime torch
    """
    run_each(
        selection.models,
        lambda m, _: open_verified(m.config, selection.cache_dir, m.source_dir),
        output,
    )
