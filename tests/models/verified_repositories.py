"""A repository as a VerifiedModel: with the facts of its row, or with those that Lumen derives."""

from pathlib import Path

from repositories import Published
from trained_tokenizers import KINDS

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Precision, Runtime
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.recording import record
from lumen_resources.model.choice import TORCH_WEIGHTS
from lumen_resources.model.layouts import (
    Cleaning,
    ModelFiles,
    Preprocess,
    ScoreRule,
    TextRule,
    VerifiedModel,
)
from lumen_resources.model.lock_file import LockedFile, digest_of, stat_identity
from lumen_resources.model.model_info import ModelInfo
from lumen_resources.progress import Progress
from lumen_terms.modality import Modality


def config_of(folder: Path, **model: object) -> ServerConfig:
    """Return the configuration of a server for the repository in `folder`, by torch.

    The folders hold small models of all families: none is stated, and the name is nobody's.
    """
    source = {"uri": f"file://{folder}"}
    document = {"name": f"tiny-{folder.name}", "runtime": "torch", "source": source, **model}
    config = {"service": "clip", "family": "clip", "family_stated": False, "model": document}
    return ServerConfig.model_validate(config)


def derived(folder: Path, **model: object) -> VerifiedModel:
    """Record the folder and return the model as a server would find it."""
    if not (folder / "model_info.json").exists():
        record(folder, Progress())
    return fetch_and_verify(config_of(folder, **model), folder, folder, Progress())


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
    weights = (*TORCH_WEIGHTS, "mobileclip2_s0.pt")
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
