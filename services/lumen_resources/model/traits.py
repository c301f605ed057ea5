"""The digest of what decides a vector's meaning: pure, from the model info and verified digests."""

import hashlib
from collections.abc import Mapping

from lumen_manifest.spec.enums import PreprocessPreset
from lumen_resources.model.layouts import ChosenFiles, Preprocess
from lumen_resources.model.lock_file import canonical_json
from lumen_resources.model.model_info import FileDigest, ModelInfo


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
    is_own = preprocess.preset is PreprocessPreset.MODEL
    document = {
        "checkpoint": info.lumen.checkpoint_sha256 or _weights_digest(chosen, digests),
        "tokenizer": tokenizer,
        "preprocessing": {
            "size": preprocess.size,
            "resize_mode": preprocess.resize_mode,
            "interpolation": preprocess.interpolation,
            "mean": [float(v) for v in preprocess.mean],
            "std": [float(v) for v in preprocess.std],
            # Named only where they are not the usual ones, so that the others keep their space.
            **({} if preprocess.crop == "even" else {"crop": preprocess.crop}),
            **({} if is_own else {"preset": preprocess.preset.value}),
        },
        "dimension": dimension,
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _weights_digest(chosen: ChosenFiles, digests: Mapping[str, FileDigest]) -> str:
    """By role, not by name: a file that only moves keeps its space."""
    roles = {"vision": chosen.vision, "text": chosen.text, "weights": chosen.weights}
    named = {role: digests[path].sha256 for role, path in roles.items() if path}
    beside = sorted(digests[path].sha256 for path in (*chosen.external_data, *chosen.shards))
    if len(named) == 1 and not beside:
        return next(iter(named.values()))
    return hashlib.sha256(canonical_json({"files": named, "beside": beside})).hexdigest()
