"""`lumen resources`: fetch, verify and look at the files of models."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from lumen_cli.output import output_option, write_rows
from lumen_cli.resources.export import export_command
from lumen_cli.resources.recording import record_folder
from lumen_cli.resources.selection import (
    Selected,
    Selection,
    cache_option,
    from_files,
    selection_options,
)
from lumen_cli.resources.work import FAILURE, explain, failure_of, refuse, run_each, shown
from lumen_cli.speech import FAILED, Format, say
from lumen_local.state_dir import default_cache_dir
from lumen_process.wording import size
from lumen_resources.errors import FileMissingError, ModelInfoError, ResourceError, speaking
from lumen_resources.fetch.listing import list_cache
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo, read
from lumen_resources.progress import Progress
from lumen_resources.sources.open import source_uri
from lumen_resources.sources.protocol import SourceAccess

LISTED = ("name", "runtimes", "size", "license", "status", "source")
LISTED_FOR_MACHINES = (
    "name",
    "version",
    "runtimes",
    "labelSets",
    "license",
    "files",
    "bytes",
    "unfinishedBytes",
    "revision",
    "status",
    "source",
    "folder",
)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        del ctx
        return list(self.commands)


@click.group("resources", cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Fetch, verify and look at the files of models.

    \b
    Examples:
      lumen resources download demo-clip --uri https://models.example.org/demo-clip
      lumen resources download -f clip-service.yaml
      lumen resources verify --write ./my-model
      lumen resources list
    """


@command.command()
@selection_options
@click.option("--force", is_flag=True, help="Ask the source even when the cache is complete.")
@output_option
def download(selection: Selection, force: bool, output: str) -> None:
    """Fetch a model's files, verify them, and keep them in the cache.

    A broken download goes on where it stopped; what is already here is not fetched again.
    A token for the source is taken from LUMEN_SOURCE_TOKEN, else as each hub's own tools find it
    (HF_TOKEN, MODELSCOPE_API_TOKEN, AWS_ACCESS_KEY_ID).

    \b
    Examples:
      lumen resources download ViT-B-32 --uri hf://timm/vit_base_patch32_clip_224.openai \\
          --runtime torch
      lumen resources download demo-clip --uri https://models.example.org/demo-clip
      lumen resources download -f clip-service.yaml
    """
    from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify

    access = SourceAccess.from_environment(os.environ)
    options = FetchOptions(access=access, force=force)
    run_each(
        selection.models,
        lambda m, p: fetch_and_verify(m.config, selection.cache_dir, m.source_dir, p, options),
        output,
    )


@command.command()
@selection_options
@click.option(
    "--folder",
    type=FOLDER,
    help="A folder with a model_info.json instead: every file that it vouches for.",
)
@click.option(
    "--write",
    type=FOLDER,
    metavar="FOLDER",
    help="Record size and SHA-256 of a folder's files in its model_info.json. "
    "Do this only where the files are known to be good.",
)
@click.option(
    "--golden/--no-golden",
    default=True,
    help="With --write, also keep the model's own vectors of a few pictures and texts, where torch "
    "or ONNX Runtime is installed: every server compares its own with them.",
)
@output_option
def verify(
    selection: Selection, folder: Path | None, write: Path | None, golden: bool, output: str
) -> None:
    """Read every file again and compare it with what was promised. Nothing is fetched.

    \b
    Examples:
      lumen resources verify bioclip-2
      lumen resources verify -f clip-service.yaml
      lumen resources verify --folder ./my-model
      lumen resources verify --write ./my-model
    """
    from lumen_resources.fetch.fetch import verify_here

    if write is not None:
        _print_digests(write, lambda progress: record_folder(write, progress, golden), output)
    elif folder is not None:
        _print_digests(folder, lambda progress: _compare(folder, progress), output)
    else:
        run_each(
            selection.models,
            lambda m, p: verify_here(m.config, selection.cache_dir, m.source_dir, p),
            output,
        )


def _compare(folder: Path, progress: Progress) -> Mapping[str, FileDigest]:
    from lumen_resources.fetch.verify import IN_PLACE, inside, verify_files

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


def _print_digests(
    folder: Path, work: Callable[[Progress], Mapping[str, FileDigest]], output: str
) -> None:
    try:
        digests = shown(folder.name, work)
    except ResourceError as error:
        refuse(str(folder), error)
    rows = [{"file": p, "size": d.size, "sha256": d.sha256} for p, d in sorted(digests.items())]
    write_rows(rows, ("file", "size", "sha256"), output)


@command.command()
@selection_options
@output_option
def check(selection: Selection, output: str) -> None:
    """Tell whether a server could start from what is here, as quickly as it would.

    Files that did not change since they were verified are not read again; `verify` reads all.

    \b
    Examples:
      lumen resources check -f clip-service.yaml
      lumen resources check bioclip-2 --runtime torch
    """
    from lumen_resources.fetch.fetch import open_verified

    run_each(
        selection.models,
        lambda m, _: open_verified(m.config, selection.cache_dir, m.source_dir),
        output,
    )


@command.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@output_option
def validate(files: tuple[Path, ...], output: str) -> None:
    """Check manifests or server.json files, and that their sources can be fetched from.

    No model file is looked at; that is what `check` and `verify` do.

    \b
    Example:
      lumen resources validate clip-service.yaml
    """
    from lumen_resources.fetch.fetch import check_sources

    rows, failed = [], False
    columns: tuple[str, ...] = ("service", "model", "runtime", "precision", "source", "labels")
    access = SourceAccess.from_environment(os.environ)
    for selected in from_files(files):
        config = selected.config
        uri, failure = source_uri(config), {}
        try:
            with speaking(selected.door):
                uri = check_sources(config, selected.source_dir, access)
        except ResourceError as error:
            explain(config.service, error)
            failed, failure = True, failure_of(error)
        rows.append(
            {
                "service": config.service,
                "model": config.model.name,
                "runtime": str(config.model.runtime),
                "precision": str(config.model.precision),
                "source": uri or "unknown",
                "labels": ", ".join(spec.name for spec in config.label_sets),
                **failure,
            }
        )
    write_rows(rows, columns if output == Format.TABLE else (*columns, *FAILURE), output)
    if failed:
        raise SystemExit(FAILED)


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Refuse unknown keys instead of warning.")
@click.option("--schema-only", is_flag=True, help="Do not look whether the named files exist.")
@output_option
def validate_model_info(path: Path, strict: bool, schema_only: bool, output: str) -> None:
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
    say(*warnings)
    row = {
        "name": info.name,
        "version": info.version,
        "runtimes": ", ".join(info.offered()),
        "embeddingDim": info.embedding_dim,
        "labelSets": ", ".join(info.datasets),
        "files": len(info.digests()),
        "warnings": len(warnings),
    }
    write_rows([row], tuple(row), output)


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


@command.command()
@selection_options
@click.option("--prepare", is_flag=True, help="Compute the vectors that are missing, here and now.")
@output_option
def labels(selection: Selection, prepare: bool, output: str) -> None:
    """Show a model's label sets: how many labels, and where their vectors are.

    Computing goes on where an earlier run was stopped.

    \b
    Examples:
      lumen resources labels -f clip-service.yaml
      lumen resources labels bioclip-2 --labels TreeOfLife-10M --prepare
    """
    from lumen_resources.fetch.fetch import open_verified

    rows: list[dict[str, Any]] = []
    failed = False
    for selected in selection.models:
        try:
            if prepare and _run_prepare(selected, selection.cache_dir) != 0:
                failed = True
            with speaking(selected.door):
                model = open_verified(selected.config, selection.cache_dir, selected.source_dir)
                rows += _label_rows(model)
        except ResourceError as error:
            explain(selected.config.model.name, error)
            if output != Format.TABLE:
                rows.append({"model": selected.config.model.name, **failure_of(error)})
            failed = True
    columns = ("model", "labelSet", "labels", "used", "vectors", "template", "note")
    write_rows(rows, columns if output == Format.TABLE else (*columns, *FAILURE), output)
    if failed:
        raise SystemExit(FAILED)


def _label_rows(model: VerifiedModel) -> Iterator[dict[str, Any]]:
    from lumen_resources.labels.filters import kept
    from lumen_resources.labels.label_sets import load_labels
    from lumen_resources.labels.prepared_labels import prepared

    for files in model.label_sets:
        found = load_labels(files)
        mask = kept(found, files).mask
        computed = prepared(model, files, found) if files.embeddings is None else None
        vectors = "shipped" if files.embeddings else "computed" if computed else "to be computed"
        yield {
            "model": model.name,
            "labelSet": files.name,
            "labels": len(found),
            "used": len(found) if mask is None else int(mask.sum()),
            "vectors": vectors,
            "template": files.template,
            "note": files.note,
        }


def _run_prepare(selected: Selected, cache_dir: Path) -> int:
    """Run the server's own step, as a pod does: the device and the library are its business."""
    with tempfile.TemporaryDirectory(prefix="lumen-prepare-") as folder:
        config = Path(folder) / "server.json"
        config.write_text(selected.config.to_json())
        env = {
            **os.environ,
            "LUMEN_CONFIG": str(config),
            "LUMEN_CACHE_DIR": str(cache_dir),
            "LUMEN_SOURCE_DIR": str(selected.source_dir),
            "LUMEN_TERMINATION_LOG": str(Path(folder) / "termination"),
            "LUMEN_BIND": "127.0.0.1",
            "LUMEN_METRICS_PORT": "0",
            "LUMEN_LOG_FORMAT": "console",
        }
        step = [sys.executable, "-m", "lumen_serving", "prepare"]
        return subprocess.run(step, env=env, check=False).returncode  # noqa: S603  # our own module


@command.command("list")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@cache_option("Default: the cache that `lumen up` uses.")
@output_option
def list_models(folder: Path | None, cache_dir: Path | None, output: str) -> None:
    """List the models that the cache holds, or FOLDER as a cache.

    \b
    Examples:
      lumen resources list --output json
      lumen resources list ~/.lumen
    """
    cache_dir = folder or cache_dir or default_cache_dir(os.environ)
    table = output == Format.TABLE
    rows = [
        {
            "name": m.name,
            "version": m.version,
            "runtimes": ", ".join(m.runtimes),
            "labelSets": ", ".join(m.label_sets),
            "license": m.license,
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
    write_rows(rows, LISTED if table else LISTED_FOR_MACHINES, output)


command.add_command(export_command("resources export"))
