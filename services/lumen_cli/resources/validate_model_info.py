"""`lumen resources validate-model-info`."""

from pathlib import Path

import click

from lumen_cli.output import output_option, say, write_rows
from lumen_cli.resources.work import refuse
from lumen_resources.errors import FileMissingError, ResourceError
from lumen_resources.model.model_info import FILE_NAME, ModelInfo, read

COLUMNS = ("name", "version", "runtimes", "embeddingDim", "labelSets", "files", "warnings")


@click.command("validate-model-info")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Refuse unknown keys instead of warning.")
@click.option("--schema-only", is_flag=True, help="Do not look whether the named files exist.")
@output_option
def command(path: Path, strict: bool, schema_only: bool, output: str) -> None:
    """Check a model_info.json, or the one in a folder, field by field.

    \b
    Examples:
      lumen resources validate-model-info ./my-model
      lumen resources validate-model-info model_info.json --strict --schema-only
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        info, warnings = read(file, strict=strict)
        if not schema_only:
            _check_files(info, file.parent)
    except ResourceError as error:
        refuse(str(file), error)
    for warning in warnings:
        say(warning)
    row = {
        "name": info.name,
        "version": info.version,
        "runtimes": ", ".join(n for n, r in info.runtimes.items() if r.available),
        "embeddingDim": info.embedding_dim,
        "labelSets": ", ".join(info.datasets),
        "files": len(info.digests()),
        "warnings": len(warnings),
    }
    write_rows([row], COLUMNS, output)


def _check_files(info: ModelInfo, folder: Path) -> None:
    """Raise for the first named file that is absent or of another size."""
    named = dict.fromkeys(p for r in info.runtimes.values() if r.available for p in r.all_files())
    named |= dict.fromkeys(d.labels for d in info.datasets.values())
    digests = info.digests()
    for relative in (*named, *digests):
        place = folder / relative
        found = place.stat().st_size if place.is_file() else None
        wanted = digests[relative].size if relative in digests else found
        if found is None or found != wanted:
            is_there = "is not there" if found is None else f"has {found:,} bytes, not {wanted:,}"
            raise FileMissingError(
                f"{relative} {is_there}, and {FILE_NAME} names it.",
                remedy="Complete the folder, or take the name out; --schema-only does not look.",
                file=relative,
            )
