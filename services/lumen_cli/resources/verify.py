"""`lumen resources verify`."""

from collections.abc import Callable
from pathlib import Path

import click

from lumen_cli.output import output_option, write_rows
from lumen_cli.resources.selection import Selection, selection_options
from lumen_cli.resources.work import refuse, run_each, shown
from lumen_resources.errors import ModelInfoError, ResourceError, StoppedError
from lumen_resources.fetch.fetch import verify_here
from lumen_resources.fetch.recording import record
from lumen_resources.fetch.transfer import IN_PLACE
from lumen_resources.fetch.verify import inside, verify_files
from lumen_resources.model.model_info import FILE_NAME, FileDigest, read
from lumen_resources.progress import Progress


@click.command("verify")
@selection_options
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with a model_info.json instead: every file that it vouches for.",
)
@click.option(
    "--write",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Record size and SHA-256 of a folder's files in its model_info.json. "
    "Do this only where the files are known to be good.",
)
@output_option
def command(selection: Selection, folder: Path | None, write: Path | None, output: str) -> None:
    """Read every file again and compare it with what was promised. Nothing is fetched.

    \b
    Examples:
      lumen resources verify bioclip-2
      lumen resources verify -f clip-service.yaml
      lumen resources verify --folder ./my-model
      lumen resources verify --write ./my-model
    """
    if write is not None:
        _print(write, lambda progress: record(write, progress), output)
    elif folder is not None:
        _print(folder, lambda progress: _compare(folder, progress), output)
    else:
        run_each(
            selection.models,
            lambda m, p: verify_here(m.config, selection.cache_dir, m.source_dir, p),
            output,
        )


def _compare(folder: Path, progress: Progress) -> dict[str, FileDigest]:
    info, _ = read(folder / FILE_NAME)
    digests = info.digests()
    if not digests:
        raise ModelInfoError(
            f"{folder / FILE_NAME} vouches for no file (extra_metadata.lumen.files).",
            remedy=f"Record them: lumen resources verify --write {folder}",
            file=FILE_NAME,
        )
    verify_files(inside(folder), digests, progress, promise=IN_PLACE)
    return digests


def _print(folder: Path, work: Callable[[Progress], dict[str, FileDigest]], output: str) -> None:
    try:
        digests = shown(folder.name, work)
    except StoppedError as error:
        raise SystemExit(error.exit_code) from None
    except ResourceError as error:
        refuse(str(folder), error)
    rows = [{"file": p, "size": d.size, "sha256": d.sha256} for p, d in sorted(digests.items())]
    write_rows(rows, ("file", "size", "sha256"), output)
