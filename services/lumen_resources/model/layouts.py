"""Where a model's folder is, and what a loader hands on when it has all files (see `choice`)."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from lumen_manifest.spec.enums import Precision, PreprocessPreset, Runtime
from lumen_resources.errors import InvalidConfig
from lumen_resources.model.lock_file import LockedFile
from lumen_resources.model.model_info import ModelInfo
from lumen_terms.modality import Modality

CONFIGS = ("open_clip_config.json", "config.json")
PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a picture becomes the model's input: RGB, `size` x `size` pixels.

    `shortest` scales the shorter edge to `size` and crops the centre; `squash` scales both.
    `mean` and `std` are per channel, for values in 0..1.
    Half of what is cropped away may be half a pixel: it is rounded to `even` (torchvision, and so
    open_clip) or `down` (transformers).
    `preset` is `pybioclip` where the resize is in floats, and rounded once at its end.
    """

    size: int
    resize_mode: Literal["shortest", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: Literal["even", "down"] = "even"
    preset: PreprocessPreset = PreprocessPreset.MODEL


class Cleaning(StrEnum):
    """What happens to a text before it is tokenised, in open_clip's words."""

    LOWER = "lower"
    WHITESPACE = "whitespace"
    CANONICALIZE = "canonicalize"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class TextRule:
    """How a text becomes a row of `context_length` tokens.

    `frame` says who puts the tokens before and after a text: `clip` its start and end token, with
    the end kept when a text is cut; `own` the post-processor of tokenizer.json.
    `pad_id` fills a row up. `language` is the token that comes first (NLLB), empty for none.
    """

    context_length: int
    cleaning: Cleaning = Cleaning.LOWER
    frame: Literal["clip", "own"] = "clip"
    pad_id: int = 0
    strip_sep: bool = False
    language: str = ""


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How cosines become scores.

    `softmax` shares out 1 over all labels by scale x cosine; `sigmoid` gives each label for itself
    sigmoid(scale x cosine + bias).
    """

    kind: Literal["softmax", "sigmoid"] = "softmax"
    scale: float = 100.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class ParityInput:
    """One golden input; exactly one of the two is set."""

    image: Path | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Parity:
    """The golden set; `vectors` is an npy file, float32 [len(inputs), dim], unit rows.

    `by` names what computed them, empty where the model's owner did not say.
    """

    inputs: tuple[ParityInput, ...]
    vectors: Path
    by: str = ""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Absolute paths of one runtime's files.

    `vision` and `text` are the two graphs (onnx, rknn), `weights` the checkpoint (torch) or the
    index of its `shards`, `external_data` the weights that lie beside the graphs.
    """

    vision: Path | None
    text: Path | None
    weights: Path | None
    config: Path | None
    tokenizer: Path | None
    external_data: tuple[Path, ...] = ()
    shards: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class NameList:
    """A file of names that labels are chosen by.

    `sha256` is what was verified, empty for one that nobody vouches for: a mounted ConfigMap's, or
    one beside the manifest. `revision` is the commit of its own source, else empty.
    """

    path: Path
    sha256: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class LabelSetFiles:
    """One label set that the manifest names.

    `embeddings` is an npy file [N, dim] (or an npz with `embeddings`) that passed the checks, or
    None when the vectors must be computed from the labels; `note` then says why.
    `digest` is the SHA-256 of the labels file, `embeddings_digest` that of the matrix; `remarks` is
    what a thorough look found to say.
    `include_names` and `exclude_names` are lists of names, which add to `include` and `exclude`.
    Vectors that are computed are those of the labels' taxonomic texts if `taxonomic`, else of their
    names, under `template`; `label_format` is only how an answer is written.
    `revision` is the commit of its own source, empty where it is the model's.
    """

    name: str
    labels: Path
    embeddings: Path | None
    digest: str
    template: str
    label_format: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_names: NameList | None = None
    exclude_names: NameList | None = None
    taxonomic: bool = False
    embeddings_digest: str = ""
    note: str = ""
    revision: str = ""
    remarks: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A model whose every file was verified: the only way a server learns of paths.

    `root` is the folder the files lie in; `cache` is the model's own folder in the cache, where
    computed label vectors go (for a source that is read in place the two differ).
    `revision` is what the source resolved to, `digest` the SHA-256 over all files in use.
    `proofs` has every file in use, as it was when it was verified.
    `modalities` is what it can embed, however many files that takes.
    """

    name: str
    model_id: str
    root: Path
    info: ModelInfo
    runtime: Runtime
    precision: Precision
    files: ModelFiles
    preprocess: Preprocess
    text: TextRule
    score: ScoreRule
    embedding_dim: int
    embedding_space: str
    revision: str
    digest: str
    parity: Parity | None
    label_sets: tuple[LabelSetFiles, ...]
    cache: Path
    bytes: int = 0
    file_count: int = 0
    warnings: tuple[str, ...] = ()
    modalities: frozenset[Modality] = frozenset(Modality)
    proofs: Mapping[Path, LockedFile] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label_revisions(self) -> str:
        """The commits of label sets and lists from elsewhere, as `name=commit name=commit`."""
        found = [(one.name, one.revision) for one in self.label_sets]
        for one in self.label_sets:
            lists = {"include": one.include_names, "exclude": one.exclude_names}
            found += [
                (f"{one.name}/{field}", said.revision) for field, said in lists.items() if said
            ]
        return " ".join(f"{name}={revision}" for name, revision in found if revision)

    @property
    def logit_scale(self) -> float:
        """By what cosines are multiplied."""
        return self.score.scale

    @property
    def context_length(self) -> int:
        """How many tokens a text has."""
        return self.text.context_length


@dataclass(frozen=True, slots=True)
class ChosenFiles:
    """Relative paths of one runtime's files, as found in a layout.

    `modalities` is what they embed: less than both for a model of one tower, or when only one is
    asked for.
    """

    vision: str | None = None
    text: str | None = None
    weights: str | None = None
    config: str | None = None
    tokenizer: str | None = None
    preprocessor: str | None = None
    companions: tuple[str, ...] = ()
    external_data: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    modalities: frozenset[Modality] = frozenset(Modality)

    def all_files(self) -> tuple[str, ...]:
        """Return every path that is set, without repeats."""
        named = (
            self.vision,
            self.text,
            self.weights,
            self.config,
            self.tokenizer,
            self.preprocessor,
            *self.companions,
            *self.external_data,
            *self.shards,
        )
        return tuple(dict.fromkeys(path for path in named if path))

    def weight_files(self) -> tuple[str, ...]:
        """Return what holds weights, and the tokenizer: what an embedding space is known by."""
        named = (self.vision, self.text, self.weights, self.tokenizer)
        return (*(path for path in named if path), *self.external_data, *self.shards)

    def under(self, root: Path) -> ModelFiles:
        """Return the same files as absolute paths."""

        def at(path: str | None) -> Path | None:
            return None if path is None else root / path

        return ModelFiles(
            vision=at(self.vision),
            text=at(self.text),
            weights=at(self.weights),
            config=at(self.config),
            tokenizer=at(self.tokenizer),
            external_data=tuple(root / path for path in self.external_data),
            shards=tuple(root / path for path in self.shards),
        )


def folder_name(model: str) -> str:
    """Return the cache folder of a model; `arch::tag` and `owner/model` become plain names."""
    name = model.replace("::", "__").replace("/", "__")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,199}", name):
        raise InvalidConfig(
            f"spec.model.name: {model!r} cannot name a folder in the cache.",
            remedy="Use letters, digits, '.', '_', '-', or open_clip's arch::tag.",
        )
    return name


def beside(folder: Path, what: str) -> Path:
    """Return the folder beside a model's that is for something else of the same name."""
    mark = hashlib.sha256(what.encode()).hexdigest()[:8]
    return folder.with_name(f"{folder.name}@{mark}")


def model_folder(cache_dir: Path, model: str) -> Path:
    """Return where the cache keeps a model, whether or not it is there yet.

    `cache_dir` may already end in `models`; a folder of an older layout (`cache_dir/model`) wins
    when it is a model's.
    """
    name = folder_name(model)
    direct = cache_dir / name
    if cache_dir.name == "models" or (direct.is_dir() and _is_model_folder(direct)):
        return direct
    return cache_dir / "models" / name


def _is_model_folder(folder: Path) -> bool:
    markers = ("model_info.json", "lumen.lock.json", "onnx", "rknn", "torch", *CONFIGS)
    return any((folder / marker).exists() for marker in markers)
