"""Which models a command is about: one by name and options, or those of a file."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click
from pydantic import ValidationError

from lumen_cli.speech import USAGE, fail, fail_by
from lumen_local.state_dir import default_cache_dir, older_cache_dir
from lumen_manifest.legacy.single_server import single_server_in
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.reading.doors import MANIFEST, Door
from lumen_manifest.reading.parse import ManifestError, parse_files, text_in
from lumen_manifest.reading.problems import first_problem
from lumen_manifest.reading.regular_files import read_bounded
from lumen_manifest.reading.yaml_tree import BYTES_MAX
from lumen_manifest.server_config import ConfigError, ServerConfig
from lumen_manifest.spec.enums import Precision, Region, Runtime
from lumen_manifest.spec.model_spec import LabelSetSpec, ModelSpec, SourceSpec

if TYPE_CHECKING:
    from lumen_resources.fetch.listing import Here

OPTIONS = Door(
    {
        "spec.cache.sizeLimit": "--cache-dir",
        "spec.labelSets": "--labels",
        "spec.model.name": "NAME",
        "spec.model.precision": "--precision",
        "spec.model.runtime": "--runtime",
        "spec.model.source": "--uri",
        "spec.model.source.region": "--region",
        "spec.model.source.revision": "--revision",
        "spec.model.source.uri": "--uri",
    },
    has_secrets=False,
)
"""What the fields of a manifest are called by those who name a model by options."""

_FORM = ("uri", "revision", "region", "runtime", "precision", "labels")
"""The options of the model form."""

Params = ParamSpec("Params")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Selected:
    """One model to work on.

    Relative sources start at `source_dir`; `cache_dir` is what an older file names, if it does.
    `door` has the words that the user knows its fields by.
    """

    config: ServerConfig
    source_dir: Path
    cache_dir: Path | None = None
    door: Door = MANIFEST


@dataclass(frozen=True, slots=True)
class Selection:
    """What the options name."""

    models: tuple[Selected, ...]
    cache_dir: Path


def cache_option(said: str) -> Callable[..., Any]:
    """Return `--cache-dir`; `said` is the help, which names the default."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--cache-dir", type=kind, envvar="LUMEN_CACHE_DIR", help=said)


def selection_options(function: Callable[..., Result]) -> Callable[..., Result]:
    """Add NAME, -f and the options of the model form; the command gets a Selection."""
    options = (
        click.argument("name", required=False),
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A manifest or a server.json: all models it names. May be repeated.",
        ),
        click.option(
            "--uri",
            help="Where the files come from: hf://owner/name, modelscope://, s3://, https://, file://.",
        ),
        click.option("--revision", help="The revision to insist on."),
        click.option(
            "--runtime",
            type=click.Choice([r.value for r in Runtime]),
            help="Default: what the cache has; onnx to fetch.",
        ),
        click.option(
            "--precision",
            type=click.Choice([p.value for p in Precision]),
            help="Default: what the cache has; to fetch fp32, for rknn fp16.",
        ),
        click.option(
            "--region",
            type=click.Choice([r.value for r in Region]),
            default=Region.OTHER.value,
            show_default=True,
            help="Whose hub a NAME is fetched from: cn is ModelScope, other Hugging Face.",
        ),
        click.option(
            "--labels", "--dataset", "labels", multiple=True, help="A label set. May be repeated."
        ),
        cache_option("Default: what FILE names, else the cache that `lumen up` uses."),
    )

    @functools.wraps(function)
    def with_selection(
        *,
        name: str | None,
        files: tuple[Path, ...],
        cache_dir: Path | None,
        **rest: Any,
    ) -> Result:
        form = {key: rest.pop(key) for key in _FORM}
        if name is not None and _is_a_file(name):
            files = (*files, Path(name))
            name = None
        models = from_files(files) if files else ()
        elsewhere = rest.get("folder") or rest.get("write")
        if not elsewhere and (name is None) == (not files):
            fail("Name one model or a YAML file, or files with -f FILE (not both).", USAGE)
        named = cache_dir or next((m.cache_dir for m in models if m.cache_dir), None)
        cache = named or default_cache_dir(os.environ)
        if name is not None:
            # To fetch is to say what of a model is wanted; the others are about what is here.
            here = None if "force" in rest else cache
            models = (_from_options(name, here, **form),)
        selection = Selection(models, cache)
        return function(selection=selection, **rest)

    for option in reversed(options):
        with_selection = option(with_selection)
    return with_selection


def _is_a_file(name: str) -> bool:
    """Tell whether the word for a model is a file of models; ends the command where it is amiss."""
    if not name.lower().endswith((".yaml", ".yml", ".json")):
        return False
    if not Path(name).is_file():
        fail(f"There is no file {name}. Name one, or a model without such an ending.", USAGE)
    return True


def _from_options(
    name: str,
    cache: Path | None,
    *,
    uri: str | None,
    revision: str | None,
    region: str,
    runtime: str | None,
    precision: str | None,
    labels: tuple[str, ...],
) -> Selected:
    """Return the model that options name; those left out are what the cache has, when it is told.

    Usage that is wrong ends the command.
    """
    if cache is not None:
        here = _here(name, cache, uri, runtime, precision)
        if here is not None:
            runtime, precision = here.runtime, here.precision
            uri, revision = uri or here.uri, revision or here.revision or None
    runtime = runtime or Runtime.ONNX
    usual = Precision.FP16 if runtime == Runtime.RKNN else Precision.FP32
    try:
        model = ModelSpec(
            name=name,
            runtime=Runtime(runtime),
            precision=Precision(precision) if precision else usual,
            source=SourceSpec(uri=uri, revision=revision, region=Region(region)),
        )
        sets = tuple(LabelSetSpec(name=label) for label in labels)
        config = ServerConfig.of_model("download", model, sets)
    except ValidationError as error:
        fail(OPTIONS.says(first_problem(error)), USAGE)
    return Selected(config, Path.cwd(), door=OPTIONS)


def _here(
    name: str, cache: Path, uri: str | None, runtime: str | None, precision: str | None
) -> "Here | None":
    from lumen_resources.errors import ResourceError
    from lumen_resources.fetch.listing import what_is_here

    usual = (Runtime.ONNX, Runtime.TORCH, Runtime.RKNN)
    runtimes = usual if runtime is None else (Runtime(runtime),)
    precisions = tuple(Precision) if precision is None else (Precision(precision),)
    try:
        return what_is_here(cache, name, uri or "", runtimes, precisions)
    except ResourceError:
        return None  # the command itself says what is wrong with the name


def from_files(files: tuple[Path, ...]) -> tuple[Selected, ...]:
    """Read manifests and server.json files; prints what is wrong and exits 1."""
    try:
        selected = [one for file in files for one in _read(file)]
    except (ManifestError, ConfigError) as error:
        fail_by(error)
    if not selected:
        fail(f"{', '.join(map(str, files))}: no LumenModelService is in it.")
    return tuple(selected)


def _read(file: Path) -> list[Selected]:
    folder = file.resolve().parent
    content = _content(file)
    if file.suffix == ".json" and b'"apiVersion"' not in content:
        return [Selected(ServerConfig.load(file), folder)]
    text = text_in(content, str(file))
    older = single_server_in(text, str(file)) if len(content) <= BYTES_MAX else None
    if older is not None:
        cache = older.cache_dir or older_cache_dir(os.environ)
        return [
            Selected(config_of(s.service, s.rknn_target), folder, cache, older.door)
            for s in older.services
        ]
    services = [r for r in parse_files([file]) if isinstance(r, LumenModelService)]
    return [Selected(config_of(service), folder) for service in services]


def _content(file: Path) -> bytes:
    """Return what a file holds; what cannot be read is the parser's to explain."""
    try:
        return read_bounded(file, BYTES_MAX)
    except OSError:
        return b""


def config_of(service: LumenModelService, rknn_target: str = "") -> ServerConfig:
    """Return what decides about a service's files."""
    spec = service.spec
    return ServerConfig(
        service=service.metadata.name,
        family=spec.family,
        model=spec.model,
        label_sets=tuple(spec.label_sets or ()),
        rknn_target=rknn_target,
    )
