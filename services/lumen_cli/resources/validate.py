"""`lumen resources validate`."""

from pathlib import Path

import click

from lumen_cli.output import output_option, write_rows
from lumen_cli.resources.selection import from_files
from lumen_cli.resources.work import explain
from lumen_resources.errors import ResourceError
from lumen_resources.sources.open import open_source, source_uri
from lumen_resources.sources.protocol import FolderSource, SourceAccess

COLUMNS = ("service", "model", "runtime", "precision", "source", "labels")


@click.command("validate")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@output_option
def command(files: tuple[Path, ...], output: str) -> None:
    """Check manifests or server.json files, and that their sources can be fetched from.

    No model file is looked at; that is what `check` and `verify` do.

    \b
    Example:
      lumen resources validate clip-service.yaml
    """
    rows, failed = [], False
    for selected in from_files(files):
        config = selected.config
        uri = source_uri(config)
        try:
            source = open_source(uri, selected.source_dir, SourceAccess())
        except ResourceError as error:
            explain(config.service, error)
            failed = True
        else:
            if not isinstance(source, FolderSource):
                source.close()
        rows.append(
            {
                "service": config.service,
                "model": config.model.name,
                "runtime": str(config.model.runtime),
                "precision": str(config.model.precision),
                "source": uri or "the default hub",
                "labels": ", ".join(spec.name for spec in config.label_sets),
            }
        )
    write_rows(rows, COLUMNS, output)
    if failed:
        raise SystemExit(1)
