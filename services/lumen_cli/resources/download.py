"""`lumen resources download`."""

import os

import click

from lumen_cli.output import output_option
from lumen_cli.resources.selection import Selected, Selection, selection_options
from lumen_cli.resources.work import run_each
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import Progress
from lumen_resources.sources.protocol import SourceAccess


@click.command("download")
@selection_options
@click.option("--force", is_flag=True, help="Ask the source even when the cache is complete.")
@output_option
def command(selection: Selection, force: bool, output: str) -> None:
    """Fetch a model's files, verify them, and keep them in the cache.

    A broken download goes on where it stopped; what is already here is not fetched again.
    A token for the source is taken from LUMEN_SOURCE_TOKEN.

    \b
    Examples:
      lumen resources download demo-clip --uri https://models.example.org/demo-clip
      lumen resources download -f clip-service.yaml
    """
    access = SourceAccess(token=os.environ.get("LUMEN_SOURCE_TOKEN", ""))

    def work(model: Selected, progress: Progress) -> VerifiedModel:
        options = FetchOptions(access=access, force=force)
        return fetch_and_verify(
            model.config, selection.cache_dir, model.source_dir, progress, options
        )

    run_each(selection.models, work, output)
