"""What decides a vector's meaning: preprocessing, context length, and the space's digest.

Pure: from the model info, open_clip's configuration and the verified digests.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lumen_resources.digests import canonical_json
from lumen_resources.errors import ModelInfoError
from lumen_resources.layouts import ChosenFiles, Preprocess
from lumen_resources.model_info import FileDigest, ModelInfo, PreprocessInfo

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
DEFAULT_SIZE = 224
DEFAULT_CONTEXT_LENGTH = 77


def preprocess_of(info: ModelInfo, config: Mapping[str, Any] | None) -> Preprocess:
    """Return how pictures are prepared.

    What the model info declares comes first, then open_clip's `preprocess_cfg`, then the vision
    tower's image size, then CLIP's values. Raises ModelInfoError for what nobody here computes.
    """
    declared = info.lumen.preprocess or PreprocessInfo()
    published = _published(config)
    size = _first(declared.size, published.size, _image_size(config), DEFAULT_SIZE)
    if isinstance(size, tuple):
        if size[0] != size[1]:
            raise _unsupported(f"a picture of {size[0]} x {size[1]} pixels; it must be square")
        size = size[0]
    if not 1 <= size <= 4096:
        raise _unsupported(f"a size of {size} pixels; 1 to 4096 work")
    std = _first(declared.std, published.std, CLIP_STD)
    if min(std) <= 0:
        raise _unsupported(f"a std of {std}; each must be above 0")
    return Preprocess(
        size=size,
        resize_mode=_first(declared.resize_mode, published.resize_mode, "shortest"),
        interpolation=_first(declared.interpolation, published.interpolation, "bicubic"),
        mean=_first(declared.mean, published.mean, CLIP_MEAN),
        std=std,
    )


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
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unsupported(f"preprocess_cfg.{where}: {first['msg']}") from error


def _unsupported(found: str) -> ModelInfoError:
    return ModelInfoError(
        f"The model's preprocessing asks for {found}.",
        remedy="Correct preprocess_cfg in open_clip_config.json, or "
        "extra_metadata.lumen.preprocess in model_info.json.",
    )
