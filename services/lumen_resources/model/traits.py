"""What decides a vector's meaning: preprocessing, context length, and the space's digest.

Pure: from the model info, open_clip's configuration and the verified digests.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lumen_manifest.reading.problems import first_problem
from lumen_resources.errors import ModelInfoError
from lumen_resources.model.layouts import PREPROCESSOR, ChosenFiles, Preprocess
from lumen_resources.model.lock_file import canonical_json
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo, PreprocessInfo
from lumen_resources.model.preprocessor_config import preprocess_info

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
DEFAULT_SIZE = 224
DEFAULT_CONTEXT_LENGTH = 77
# Files round means to four digits and more; in a vector that is below the sixth.
ROUNDED = 1e-4
_DECIDING = ("size", "resize_mode", "interpolation", "mean", "std")


def preprocess_of(
    info: ModelInfo,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None = None,
) -> Preprocess:
    """Return how pictures are prepared.

    The model info, open_clip's `preprocess_cfg` and transformers' `preprocessor_config.json` may
    each say a part of it, and must agree where two of them speak of the same. What none says is
    the vision tower's image size, and else CLIP's value. Raises ModelInfoError where they do not,
    or for what nobody here computes.
    """
    declared = _agreed(
        {
            "extra_metadata.lumen.preprocess in model_info.json": info.lumen.preprocess
            or PreprocessInfo(),
            "preprocess_cfg in open_clip_config.json": _published(config),
            PREPROCESSOR: preprocess_info(preprocessor),
        }
    )
    size = _first(declared.size, _image_size(config), DEFAULT_SIZE)
    if isinstance(size, tuple):
        if size[0] != size[1]:
            raise _unsupported(f"a picture of {size[0]} x {size[1]} pixels; it must be square")
        size = size[0]
    if not 1 <= size <= 4096:
        raise _unsupported(f"a size of {size} pixels; 1 to 4096 work")
    std = _first(declared.std, CLIP_STD)
    if min(std) <= 0:
        raise _unsupported(f"a std of {std}; each must be above 0")
    return Preprocess(
        size=size,
        resize_mode=_first(declared.resize_mode, "shortest"),
        interpolation=_first(declared.interpolation, "bicubic"),
        mean=_first(declared.mean, CLIP_MEAN),
        std=std,
    )


def _agreed(statements: Mapping[str, PreprocessInfo]) -> PreprocessInfo:
    """Return what all of them say together; ModelInfoError names two that contradict."""
    together: dict[str, tuple[str, Any]] = {}
    for where, said in statements.items():
        for name in _DECIDING:
            value = getattr(said, name)
            if value is None:
                continue
            before, other = together.setdefault(name, (where, value))
            if not _same(value, other):
                raise ModelInfoError(
                    f"Two files prepare pictures differently: {before} says {name} {other}, "
                    f"{where} says {value}.",
                    remedy="Keep what the checkpoint was trained with, and correct or remove the "
                    "other.",
                    file=FILE_NAME,
                )
    return PreprocessInfo(**{name: value for name, (_, value) in together.items()})


def _same(one: Any, other: Any) -> bool:
    """Whether two values prepare alike: a square may be written as one number or two."""
    if isinstance(one, str):
        return bool(one == other)
    pair = [value if isinstance(value, tuple) else (value, value) for value in (one, other)]
    return all(abs(a - b) <= ROUNDED for a, b in zip(*pair, strict=True))


def context_length_of(
    info: ModelInfo, config: Mapping[str, Any] | None, graph_length: int | None = None
) -> int:
    """Return how many tokens a text has: as declared, as configured, as the graph fixes it."""
    configured = _section(config, "model_cfg", "text_cfg").get("context_length")
    length = info.lumen.context_length or configured or graph_length or DEFAULT_CONTEXT_LENGTH
    if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= 8192:
        raise ModelInfoError(
            f"open_clip_config.json: model_cfg.text_cfg.context_length is {length!r}.",
            remedy="It must be an integer from 1 to 8192.",
            file="open_clip_config.json",
        )
    positions = _section(config, "text_config").get("max_position_embeddings")
    if isinstance(positions, int) and length > positions:
        raise ModelInfoError(
            f"Texts have {length} tokens, config.json's text tower has {positions} positions.",
            remedy="Set extra_metadata.lumen.context_length in model_info.json to what the model "
            "was trained with.",
            file=FILE_NAME,
        )
    return length


def embedding_space(
    info: ModelInfo,
    chosen: ChosenFiles,
    digests: Mapping[str, FileDigest],
    preprocess: Preprocess,
    dimension: int,
) -> str:
    """Return the digest of all that decides a vector's meaning, and of nothing else.

    SHA-256 of the canonical JSON of {checkpoint, tokenizer, preprocessing, dimension}.
    checkpoint is what export recorded, else the digest of the weight files; tokenizer is null for
    a model that brings none (open_clip's own is then used).
    """
    tokenizer = digests[chosen.tokenizer].sha256 if chosen.tokenizer else None
    document = {
        "checkpoint": info.lumen.checkpoint_sha256 or _weights_digest(chosen, digests),
        "tokenizer": tokenizer,
        "preprocessing": {
            "size": preprocess.size,
            "resize_mode": preprocess.resize_mode,
            "interpolation": preprocess.interpolation,
            "mean": [float(v) for v in preprocess.mean],
            "std": [float(v) for v in preprocess.std],
        },
        "dimension": dimension,
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _weights_digest(chosen: ChosenFiles, digests: Mapping[str, FileDigest]) -> str:
    """By role, not by name: a file that only moves keeps its space."""
    roles = {"vision": chosen.vision, "text": chosen.text, "weights": chosen.weights}
    named = {role: digests[path].sha256 for role, path in roles.items() if path}
    beside = sorted(digests[path].sha256 for path in chosen.external_data)
    if len(named) == 1 and not beside:
        return next(iter(named.values()))
    return hashlib.sha256(canonical_json({"files": named, "beside": beside})).hexdigest()


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _section(config: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any]:
    section: Any = config or {}
    for key in path:
        section = section.get(key) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _image_size(config: Mapping[str, Any] | None) -> int | tuple[int, int] | None:
    for path in (("model_cfg", "vision_cfg"), ("vision_cfg",), ("vision_config",)):
        size = _section(config, *path).get("image_size")
        if isinstance(size, int) and not isinstance(size, bool):
            return size
        if isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) for s in size):
            return size[0], size[1]
    return None


def _published(config: Mapping[str, Any] | None) -> PreprocessInfo:
    """Read open_clip's preprocess_cfg; other libraries' files have none."""
    section = dict(_section(config, "preprocess_cfg"))
    known = {k: v for k, v in section.items() if k in PreprocessInfo.model_fields}
    for key in ("mean", "std"):
        # open_clip accepts one number for all three channels.
        if isinstance(known.get(key), int | float):
            known[key] = [known[key]] * 3
    try:
        return PreprocessInfo.model_validate(known)
    except ValidationError as error:
        raise _unsupported(f"preprocess_cfg.{first_problem(error)}") from error


def _unsupported(found: str) -> ModelInfoError:
    return ModelInfoError(
        f"The model's preprocessing asks for {found}.",
        remedy="Correct preprocess_cfg in open_clip_config.json, or "
        "extra_metadata.lumen.preprocess in model_info.json.",
    )
