"""A repository as a VerifiedModel, with the facts of its row and not those that Lumen derives."""

from pathlib import Path

from repositories import Published
from trained_tokenizers import KINDS

from lumen_manifest.spec.enums import Precision, Runtime
from lumen_resources.model.layouts import (
    TORCH_WEIGHTS,
    Cleaning,
    ModelFiles,
    Preprocess,
    ScoreRule,
    TextRule,
    VerifiedModel,
)
from lumen_resources.model.lock_file import LockedFile, digest_of, stat_identity
from lumen_resources.model.model_info import ModelInfo
from lumen_terms.modality import Modality

_CONFIGS = ("open_clip_config.json", "config.json")


def verified(
    folder: Path,
    row: Published,
    dim: int,
    *,
    precision: Precision = Precision.FP32,
    modalities: frozenset[Modality] = frozenset(Modality),
) -> VerifiedModel:
    """Return the model in `folder`, all its files as they are now."""
    paths = [path for path in folder.iterdir() if path.is_file()]
    weights = (*TORCH_WEIGHTS, "pytorch_model.bin")
    picture, kind = row.picture, KINDS[row.kind]
    return VerifiedModel(
        name=folder.name,
        model_id=folder.name,
        root=folder,
        info=ModelInfo.model_validate(
            {
                "name": folder.name,
                "version": "1.0.0",
                "description": folder.name,
                "model_type": "clip",
                "source": {"format": "custom", "repo_id": folder.name},
                "runtimes": {"torch": {"available": True}},
            }
        ),
        runtime=Runtime.TORCH,
        precision=precision,
        files=ModelFiles(
            vision=None,
            text=None,
            weights=next(folder / w for w in weights if (folder / w).exists()),
            config=next(folder / c for c in _CONFIGS if (folder / c).exists()),
            tokenizer=folder / "tokenizer.json",
        ),
        preprocess=Preprocess(
            size=picture["size"][0],
            resize_mode=picture["resize_mode"],
            interpolation=picture["interpolation"],
            mean=tuple(picture["mean"]),
            std=tuple(picture["std"]),
        ),
        text=TextRule(row.context, Cleaning(kind.cleaning), kind.frame, kind.pad_id),
        score=ScoreRule(row.score),
        embedding_dim=dim,
        embedding_space="",
        revision="",
        digest="",
        parity=None,
        label_sets=(),
        cache=folder,
        modalities=modalities,
        proofs={
            path: LockedFile(
                size=(digest := digest_of(path)).size,
                sha256=digest.sha256,
                seen=stat_identity(path),
            )
            for path in paths
        },
    )
