"""`lumen export`, also as `lumen resources export`: a model on torch becomes files for others."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click
from pydantic import ValidationError

from lumen_cli.output import output_option, write_rows
from lumen_cli.resources.work import progress_line, refuse
from lumen_cli.speech import USAGE, Format, fail, fail_by, say
from lumen_local.state_dir import default_cache_dir
from lumen_manifest.reading.doors import Door
from lumen_manifest.reading.problems import first_problem
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Precision, Runtime
from lumen_manifest.spec.model_spec import ModelSpec, SourceSpec
from lumen_process.device_tree import ROCKCHIP
from lumen_process.wording import size
from lumen_resources.errors import (
    ResourceError,
    RuntimeNotSupportedError,
    StoppedError,
    speaking,
)
from lumen_resources.progress import Progress
from lumen_resources.signals import stops_on_signals

if TYPE_CHECKING:
    from lumen_export.proof import Proof

TARGETS = (Runtime.ONNX, Runtime.RKNN)
NPU_PRECISIONS = (Precision.FP16, Precision.INT8)
COLUMNS = ("product", "engine", "pictures", "texts", "batches", "note")
FOLDER = click.Path(file_okay=False, path_type=Path)
ARGUMENTS = Door(
    {
        "spec.cache.sizeLimit": "--cache-dir",
        "spec.model.name": "SOURCE",
        "spec.model.source": "SOURCE",
        "spec.model.source.revision": "--revision",
        "spec.model.source.uri": "SOURCE",
    },
    has_secrets=False,
)
"""What the fields of a manifest are called by those who name a source to export."""
_HELP = """Export a model on torch to files for other runtimes.

SOURCE is a repository (hf://OWNER/NAME, OWNER/NAME), an open_clip name (ARCH::TAG) or a folder. Its
files are fetched and verified first. Every product is compared with the source's own vectors; one
that differs by more than its precision may is not kept, and neither is anything else of that run.
bf16 is computed from the fp32 files and makes none of its own.

\b
Examples:
  lumen {words} ViT-B-32::laion2b_s34b_b79k --out ./vit-b-32
  lumen {words} hf://timm/MobileCLIP2-S2-OpenCLIP --precision fp32,int8 --out ./mobileclip2-s2
  lumen {words} ./my-model --to onnx,rknn --precision fp32,fp16 --out ./my-model-rk3588

Exit codes: 0 made and proven, 1 refused, or below the bar, 2 a wrong option or a missing package.
"""

Member = TypeVar("Member", Runtime, Precision)


def _listed(kind: type[Member], known: tuple[Member, ...]) -> Callable[..., tuple[Member, ...]]:
    """Return a click callback that reads `a,b` into members, without repeats."""

    def read(
        context: click.Context, option: click.Parameter, text: str | None
    ) -> tuple[Member, ...]:
        if text is None:
            return ()
        words = [word.strip().lower() for word in text.split(",")]
        wrong = next((word for word in words if word not in known), None)
        if wrong is not None:
            choices = ", ".join(member.value for member in known)
            raise click.BadParameter(f"{wrong!r} is none of {choices}.", context, option)
        return tuple(dict.fromkeys(kind(word) for word in words))

    return read


def export_command(words: str) -> click.Command:
    """Return the command; `words` are what is typed behind `lumen` to reach it."""
    options = (
        click.argument("source"),
        click.option("--out", type=FOLDER, required=True, help="Where the model's folder goes."),
        click.option(
            "--to",
            "targets",
            default=Runtime.ONNX.value,
            show_default=True,
            callback=_listed(Runtime, TARGETS),
            help="For which runtimes, by commas.",
        ),
        click.option(
            "--precision",
            "precisions",
            callback=_listed(Precision, tuple(Precision)),
            help="In which precisions, by commas: fp32, bf16, fp16, int8; an NPU computes in the "
            "last two.  [default: fp32, and fp16 for an NPU]",
        ),
        click.option(
            "--rknn-target",
            type=click.Choice(ROCKCHIP),
            default=ROCKCHIP[0],
            show_default=True,
            help="Which chip RKNN files are for.",
        ),
        click.option(
            "--rknn-toolkit",
            type=FOLDER,
            help="Where Rockchip's converter is kept, 7 GB.  [default: in ~/.cache/lumen]",
        ),
        click.option(
            "--labels",
            multiple=True,
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A JSON file of labels to take along, with their vectors. May be repeated.",
        ),
        click.option("--revision", help="The source's revision to insist on."),
        click.option(
            "--cache-dir",
            type=FOLDER,
            envvar="LUMEN_CACHE_DIR",
            help="Where the source is kept.  [default: the cache that `lumen up` uses]",
        ),
        output_option,
    )
    made: Callable[..., Any] = _export
    for option in reversed(options):
        made = option(made)
    name = words.rpartition(" ")[2]
    short = "Export a model on torch to ONNX and RKNN files."
    return click.command(name, help=_HELP.format(words=words), short_help=short)(made)


def _export(
    source: str,
    out: Path,
    targets: tuple[Runtime, ...],
    precisions: tuple[Precision, ...],
    rknn_target: str,
    rknn_toolkit: Path | None,
    labels: tuple[Path, ...],
    revision: str | None,
    cache_dir: Path | None,
    output: str,
) -> None:
    try:
        from lumen_export.errors import ExportError
        from lumen_export.label_files import LabelPlan
        from lumen_export.npu import NpuPlan
        from lumen_export.rknn.toolkit import default_folder
        from lumen_export.run import ExportPlan, export, refuse_unusable
        from lumen_serving.errors import StartError
    except ModuleNotFoundError as error:
        fail(
            f"lumen export needs the Python package '{error.name}', which is not installed here. "
            "Install it: pip install 'lumen-serve[export]'.",
            USAGE,
        )
    from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
    from lumen_resources.sources.protocol import SourceAccess

    config = _config(source, revision)
    onnx, rknn = _products(targets, precisions)
    toolkit = (rknn_toolkit or default_folder()).absolute()
    npu = NpuPlan(rknn_target, rknn, toolkit) if rknn else None
    plan = ExportPlan(onnx, out.absolute(), npu, LabelPlan(labels, config.family))
    cache = (cache_dir or default_cache_dir(os.environ)).absolute()
    access = SourceAccess.from_environment(os.environ)
    progress = Progress()
    try:
        refuse_unusable(plan.out)
        with stops_on_signals(), progress_line(config.model.name, progress):
            with speaking(ARGUMENTS):
                model = fetch_and_verify(config, cache, Path.cwd(), progress, FetchOptions(access))
            made = export(model, plan, progress)
    except StoppedError as error:
        fail(
            f"Stopped. Nothing was left at {out}; what was fetched is kept in the cache.",
            error.exit_code,
        )
    except RuntimeNotSupportedError as error:
        error.remedy = "Name a source with the model's weights: all other files are made from them."
        refuse(source, error)
    except ResourceError as error:
        refuse(source, error)
    except (ExportError, StartError) as error:
        fail_by(error)
    say(*model.warnings)
    rows = [_row(proof) for proof in made.proofs]
    if output == Format.JSON:
        rows = [
            row | {"folder": str(plan.out), "embeddingSpace": made.embedding_space} for row in rows
        ]
    write_rows(rows, COLUMNS if output == Format.TABLE else (*COLUMNS, *rows[0]), output)
    say(f"{out}: {size(made.bytes)}. Serve it with spec.model.source.uri: {plan.out.as_uri()}")


def _products(
    targets: tuple[Runtime, ...], precisions: tuple[Precision, ...]
) -> tuple[tuple[Precision, ...], tuple[Precision, ...]]:
    """Return the precisions of ONNX files and those of RKNN files."""
    onnx = (precisions or (Precision.FP32,)) if Runtime.ONNX in targets else ()
    if Runtime.RKNN not in targets:
        return onnx, ()
    rknn = tuple(p for p in precisions or (Precision.FP16,) if p in NPU_PRECISIONS)
    if not rknn:
        fail("An NPU computes in fp16 or int8: name one of them with --precision.", USAGE)
    return onnx, rknn


def _row(proof: "Proof") -> dict[str, Any]:
    cosines = {modality.value: cosine for modality, cosine in proof.cosines.items()}
    return {
        "product": proof.product,
        "engine": proof.engine,
        "pictures": _shown(cosines.get("image")),
        "texts": _shown(cosines.get("text")),
        "batches": ", ".join(dict.fromkeys(proof.batching.values())),
        "note": proof.note,
    }


def _shown(cosine: float | None) -> str | None:
    return None if cosine is None else f"{cosine:.6f}"


def _config(source: str, revision: str | None) -> ServerConfig:
    """Return what fetches the source for torch; ends the command when it names none."""
    name, uri = source, None
    if Path(source).is_dir():
        uri = Path(source).absolute().as_uri()
        name = Path(source).absolute().name
    elif "://" in source:
        uri = source
        name = urlsplit(source).path.partition("@")[0].rstrip("/").rpartition("/")[2]
    elif source.startswith((".", "/", "~")):
        fail(f"{source} is not a folder. Name one, a repository or an open_clip name.", USAGE)
    if uri is not None:
        name = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-._+")[:100] or "model"
    try:
        told = SourceSpec(uri=uri, revision=revision)
        model = ModelSpec(name=name, runtime=Runtime.TORCH, source=told)
        return ServerConfig.of_model("export", model)
    except ValidationError as error:
        fail(f"{source}: {first_problem(error)}", USAGE)


command = export_command("export")
