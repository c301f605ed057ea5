"""`model_info.json`: what a model's folder says about itself, checked field by field.

The only door for that file: everything behind it works with `ModelInfo`.
Strict mode refuses unknown keys; tolerant mode drops them and reports each as a warning.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lumen_manifest.reading.problems import DESCRIBED_AT_MOST, said_of
from lumen_manifest.reading.regular_files import read_bounded
from lumen_manifest.spec.enums import Tower
from lumen_manifest.spec.field_types import (
    LANGUAGE,
    MODEL_INFO_NAME,
    MODEL_INFO_VERSION,
    SHA256,
)
from lumen_resources.errors import ModelInfoError, from_os_error
from lumen_resources.json_text import parse_json
from lumen_terms.modality import Modality

FILE_NAME = "model_info.json"
MAX_BYTES = 8 * 1024 * 1024
MAX_FILES = 10_000
# Unknown keys are dropped with a warning each: of a newer version's there are a few.
MAX_UNKNOWN = 1000
SHOWN_CHARACTERS = 200
# What Lumen itself writes into a model's folder (locks, computed vectors): no source may.
RESERVED = ("lumen.lock.json", ".lumen", "prepared", "codes")


def relative_path(path: str) -> str:
    """Return `path` when it stays inside the model's folder; ValueError says why it does not."""
    parts = path.split("/")
    if not path or len(path) > 1024 or any(len(part.encode()) > 255 for part in parts):
        raise ValueError("must be a relative path of 1 to 1024 characters")
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        raise ValueError("must not contain backslashes or control characters")
    if path.startswith(("/", "~")) or ":" in parts[0]:
        raise ValueError("must be relative to the model's folder")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError("must not contain empty parts, '.' or '..'")
    if parts[0].casefold() in RESERVED:
        raise ValueError(f"must not be {parts[0]}, which Lumen writes itself")
    return path


RelativePath = Annotated[str, AfterValidator(relative_path)]
Files = Annotated[tuple[RelativePath, ...], Field(max_length=MAX_FILES)]
Sha256 = Annotated[str, Field(pattern=SHA256.regex)]


class SourceFormat(StrEnum):
    """Where a model was published."""

    HUGGINGFACE = "huggingface"
    OPENCLIP = "openclip"
    MODELSCOPE = "modelscope"
    CUSTOM = "custom"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(_Section):
    """Where the model comes from."""

    format: SourceFormat
    repo_id: str = Field(min_length=1, max_length=500)


class Requirements(_Section):
    """What a runtime wants installed; shown, not enforced."""

    python: str | None = None
    dependencies: tuple[str, ...] = ()


class RuntimeInfo(_Section):
    """One runtime's files: a list, or a list per device."""

    available: bool
    files: Files | Annotated[dict[str, Files], Field(max_length=64)] = ()
    devices: tuple[str, ...] = ()
    requirements: Requirements | None = None

    def all_files(self) -> tuple[str, ...]:
        """Return the files of all devices."""
        if isinstance(self.files, dict):
            return tuple(path for paths in self.files.values() for path in paths)
        return self.files


class Dataset(_Section):
    """A label set's files, relative to the model's folder; an npz holds both."""

    labels: RelativePath
    embeddings: RelativePath | None = None


def _dataset_from_one_path(value: Any) -> Any:
    """Older files name one path: an npz with both, a matrix beside its labels, or labels alone."""
    if not isinstance(value, str):
        return value
    stem, dot, suffix = value.rpartition(".")
    if dot and suffix == "npz":
        return {"labels": value, "embeddings": value}
    if dot and suffix == "npy":
        return {"labels": f"{stem}.json", "embeddings": value}
    return {"labels": value}


class FileDigest(_Section):
    """What a file must be, to the byte."""

    size: int = Field(ge=0)
    sha256: Sha256


class PreprocessInfo(_Section):
    """open_clip's `preprocess_cfg`; what is absent takes CLIP's value."""

    size: Annotated[int, Field(ge=1, le=4096)] | tuple[int, int] | None = None
    mode: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "squash"] | None = None
    fill_color: int | tuple[int, int, int] | None = None


class ParityInputInfo(_Section):
    """One golden input: a picture in the model's folder, or a text."""

    image: RelativePath | None = None
    text: str | None = Field(default=None, max_length=10_000)

    def model_post_init(self, context: Any, /) -> None:
        """Refuse an input that is both or neither."""
        del context
        if (self.image is None) == (self.text is None):
            raise ValueError("a parity input is either an image or a text")


class ReferenceInfo(_Section):
    """Of what a golden set is that Lumen recorded: nothing else is judged by it.

    `by` names the runtime that computed the vectors, `files` the SHA-256 of all it computed with,
    `rules` that of how pictures and texts were prepared.
    """

    by: str = Field(min_length=1, max_length=200)
    files: dict[RelativePath, Sha256] = Field(min_length=1, max_length=MAX_FILES)
    rules: dict[Modality, Sha256] = Field(min_length=1)


class ParityInfo(_Section):
    """The golden set: inputs, and the vectors that the checkpoint itself gives for them.

    Without `reference` it came with the model, and is of whatever lies in its folder.
    """

    inputs: tuple[ParityInputInfo, ...] = Field(min_length=1, max_length=256)
    vectors: RelativePath
    reference: ReferenceInfo | None = None


class TextInfo(_Section):
    """How texts become tokens; what is absent follows the tokenizer's and the model's own files."""

    context_length: int | None = Field(default=None, ge=1, le=8192)
    cleaning: Literal["lower", "whitespace", "canonicalize", "none"] | None = None
    frame: Literal["clip", "own"] | None = None
    pad_id: int | None = Field(default=None, ge=0, le=100_000_000)
    strip_sep: bool | None = None
    language: str | None = Field(default=None, pattern=LANGUAGE.regex)


class ScoreInfo(_Section):
    """How cosines become scores; `scale` and `bias` are what is computed with, not logarithms.

    Absent numbers are read from the weights where they can be.
    """

    kind: Literal["softmax", "sigmoid"] = "softmax"
    scale: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    bias: float | None = Field(default=None, ge=-1000, le=1000, allow_inf_nan=False)


class ArchitectureInfo(_Section):
    """An architecture of open_clip, for weights that lie in a folder without a configuration."""

    name: str = Field(pattern=MODEL_INFO_NAME.regex)
    quick_gelu: bool = False


class LumenMetadata(_Section):
    """What Lumen reads from `extra_metadata.lumen`.

    `towers` says which halves the model has, both by default. `logit_scale` and `context_length`
    are the older spellings of `score.scale` and `text.context_length`.
    """

    files: dict[RelativePath, FileDigest] = Field(default_factory=dict, max_length=MAX_FILES)
    preprocess: PreprocessInfo | None = None
    text: TextInfo | None = None
    score: ScoreInfo | None = None
    architecture: ArchitectureInfo | None = None
    towers: tuple[Tower, ...] | None = Field(default=None, min_length=1, max_length=2)
    logit_scale: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    context_length: int | None = Field(default=None, ge=1, le=8192)
    checkpoint_sha256: Sha256 | None = None
    parity: ParityInfo | None = None


class ExtraMetadata(BaseModel):
    """A free object; only `lumen` means something here."""

    model_config = ConfigDict(extra="allow", frozen=True)

    lumen: LumenMetadata = Field(default_factory=LumenMetadata)


class Metadata(_Section):
    """Who made it, when, under which terms."""

    license: str | None = None
    author: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    tags: tuple[str, ...] = ()


class ModelInfo(_Section):
    """The content of model_info.json."""

    name: str = Field(min_length=1, max_length=100)
    version: str = Field(pattern=MODEL_INFO_VERSION.regex)
    description: str = Field(min_length=1, max_length=500)
    model_type: str = Field(min_length=1, max_length=100)
    source: Origin
    runtimes: dict[str, RuntimeInfo] = Field(min_length=1, max_length=32)
    embedding_dim: int | None = Field(default=None, ge=1, le=100_000)
    datasets: dict[str, Annotated[Dataset, BeforeValidator(_dataset_from_one_path)]] = Field(
        default_factory=dict, max_length=256
    )
    extra_metadata: ExtraMetadata = Field(default_factory=ExtraMetadata)
    metadata: Metadata | None = None

    @property
    def lumen(self) -> LumenMetadata:
        """Our part of extra_metadata."""
        return self.extra_metadata.lumen

    @property
    def license(self) -> str:
        """The terms that the model is under, as its owner names them; empty where nobody does.

        One line without anything that a terminal obeys.
        """
        said = (self.metadata.license if self.metadata else None) or ""
        line = " ".join(said.split())[:SHOWN_CHARACTERS]
        return line if line.isprintable() else ""

    def digests(self) -> dict[str, FileDigest]:
        """Return size and SHA-256 of every file the model info vouches for, by relative path."""
        return {path: d for path, d in self.lumen.files.items() if path != FILE_NAME}

    def offered(self) -> tuple[str, ...]:
        """Return the runtimes that there are files for."""
        return tuple(name for name, runtime in self.runtimes.items() if runtime.available)


def _at(location: Sequence[int | str]) -> str:
    where = ".".join(str(part)[:SHOWN_CHARACTERS] for part in location)
    return where or "the document"


def _without(document: Any, location: Sequence[int | str]) -> None:
    for part in location[:-1]:
        document = document[part]
    del document[location[-1]]


def parse(
    content: bytes, *, strict: bool = False, file: str = FILE_NAME
) -> tuple[ModelInfo, tuple[str, ...]]:
    """Return the model info and the warnings of tolerant mode (always empty in strict mode).

    Raises ModelInfoError naming every field that is wrong.
    """
    if len(content) > MAX_BYTES:
        raise _invalid(file, f"is {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        document = parse_json(content)
    except ValueError as error:
        raise _invalid(file, f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _invalid(file, "must be a JSON object")
    try:
        return ModelInfo.model_validate(document), ()
    except ValidationError as error:
        if error.error_count() > DESCRIBED_AT_MOST:
            found = f"has {error.error_count():,} fields that are unknown or wrong"
            raise _invalid(file, found) from error
        unknown = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
        if strict or len(unknown) < error.error_count():
            raise _invalid(file, _describe(error, strict=strict)) from error
        if len(unknown) > MAX_UNKNOWN:
            raise _invalid(file, f"has {len(unknown):,} unknown keys") from error
    for location in unknown:
        _without(document, location)
    warnings = tuple(f"{file}: unknown key {_at(location)} is ignored" for location in unknown)
    return ModelInfo.model_validate(document), warnings


def read(path: Path, *, strict: bool = False) -> tuple[ModelInfo, tuple[str, ...]]:
    """Read and parse a model_info.json; errors as `parse`, and those of the file system."""
    return parse(read_bytes(path), strict=strict, file=str(path))


def read_bytes(path: Path) -> bytes:
    """Return the file's bytes, at most one more than `parse` accepts."""
    try:
        return read_bounded(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise ModelInfoError(
            f"{path} is not there; a model's folder says in it what the model is.",
            remedy="Point spec.model.source at a folder that has one, or write it with "
            "`lumen resources verify --write FOLDER`.",
            file=str(path),
        ) from error
    except OSError as error:
        raise from_os_error(error, path, "reading") from error


def _describe(error: ValidationError, *, strict: bool) -> str:
    problems = [
        f"{_at(e['loc'])}: {said_of(e).removeprefix('Value error, ')}"
        for e in error.errors()
        if strict or e["type"] != "extra_forbidden"
    ]
    shown = "; ".join(problems[:10])
    return shown if len(problems) <= 10 else f"{shown}; and {len(problems) - 10} more"


def _invalid(file: str, found: str) -> ModelInfoError:
    return ModelInfoError(
        f"{file}: {found}.",
        remedy="Correct the file (docs/resources.md lists its fields; "
        "`lumen resources validate-model-info FILE` checks it).",
        file=file,
    )
