"""What decides a vector's meaning beside preprocessing: context length, and the space's digest.

Pure: from the model info, open_clip's configuration and the verified digests.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from lumen_resources.errors import ModelInfoError
from lumen_resources.model.layouts import ChosenFiles, Preprocess
from lumen_resources.model.lock_file import canonical_json
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo
from lumen_resources.model.preprocessing import section

DEFAULT_CONTEXT_LENGTH = 77


def context_length_of(
    info: ModelInfo, config: Mapping[str, Any] | None, graph_length: int | None = None
) -> int:
    """Return how many tokens a text has: as declared, as configured, as the graph fixes it."""
    configured = section(config, "model_cfg", "text_cfg").get("context_length")
    length = info.lumen.context_length or configured or graph_length or DEFAULT_CONTEXT_LENGTH
    if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= 8192:
        raise ModelInfoError(
            f"open_clip_config.json: model_cfg.text_cfg.context_length is {length!r}.",
            remedy="It must be an integer from 1 to 8192.",
            file="open_clip_config.json",
        )
    positions = section(config, "text_config").get("max_position_embeddings")
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
