"""From a verified model to its towers on torch; used by the backend and by the export.

Both towers are described, so that every name in the checkpoint is accounted for; only those that
are asked for get memory and weights.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lumen_manifest.spec.enums import Precision
from lumen_resources.errors import (
    FileMissingError,
    ResourceValidationError,
    RuntimeNotSupportedError,
)
from lumen_resources.fetch.verify import only_verified
from lumen_resources.model.contents import read_config
from lumen_resources.model.layouts import ScoreRule, VerifiedModel
from lumen_resources.model.scores import BIAS, SCALE, score_rule_of
from lumen_serving.backends.torch import open_clip_towers, transformers_towers
from lumen_serving.backends.torch.checkpoint import SAFETENSORS, Checkpoint, opened
from lumen_serving.backends.torch.library import EmptyTower, TorchTower, dtype_of
from lumen_terms.modality import Modality

# What checkpoints hold beside towers: how cosines become scores, what older versions of the
# libraries kept and compute today, OpenAI's sizes, M-CLIP's unused pooling, CoCa's captioning half.
_BESIDE = re.compile(
    r"logit_(scale|bias)|(.+\.)?(position_ids|embed_positions\.weights|attn_mask)"
    r"|input_resolution|context_length|vocab_size"
    r"|transformer\.pooler\.dense\.(weight|bias)|text_decoder\..+"
)


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model's towers on the CPU; `score` is what its weights say of scores.

    None where that is known already: safetensors tell it without torch.
    """

    towers: dict[Modality, TorchTower]
    score: ScoreRule | None


def open_towers(
    model: VerifiedModel,
    precision: Precision = Precision.FP32,
    modalities: Collection[Modality] | None = None,
) -> dict[Modality, TorchTower]:
    """Return the towers of a model, by default all that it has; errors as `open_model`."""
    return open_model(model, precision, modalities).towers


def open_model(
    model: VerifiedModel,
    precision: Precision = Precision.FP32,
    modalities: Collection[Modality] | None = None,
) -> OpenedModel:
    """Load a model's towers in `precision`, by default all that it has.

    Raises:
        ResourceValidationError: configuration and weights do not make a model together.
        RuntimeNotSupportedError: an architecture that is not computed here.
        FileMissingError: the repository has no configuration.

    """
    files = model.files
    weights = files.shards or ((files.weights,) if files.weights else ())
    if not weights:
        raise FileMissingError(
            f"{model.name} has no weights that torch could load.",
            remedy="Complete the model's folder at its source, or set spec.model.runtime to onnx.",
        )
    with only_verified(model, (*weights, *((files.config,) if files.config else ()))) as folder:
        config = read_config(folder / files.config.name) if files.config else None
        with opened([folder / path.name for path in weights]) as checkpoint:
            empty = _empty_towers(model, config or {}, checkpoint)
            _check_names(empty, checkpoint, weights[0].name)
            wanted = model.modalities if modalities is None else modalities
            absent = sorted(modality for modality in wanted if modality not in empty)
            if absent:
                raise RuntimeNotSupportedError(
                    f"{model.name} has no tower for {absent[0].value}s.",
                    remedy="Set spec.model.towers to what the model has.",
                )
            towers = {
                modality: empty[modality].filled(checkpoint.read, dtype_of(precision))
                for modality in sorted(wanted)
            }
            told = all(path.suffix == SAFETENSORS for path in weights)
            return OpenedModel(towers, None if told else _score(model, config, checkpoint))


def _score(
    model: VerifiedModel, config: Mapping[str, Any] | None, checkpoint: Checkpoint
) -> ScoreRule:
    scalars = {}
    for name in (SCALE, BIAS):
        if math.prod(checkpoint.shapes.get(name, (0,))) != 1:
            continue
        found = checkpoint.read(name)
        # Of another type it would be no number that a rule is made of.
        scalars[name] = float(found.item()) if found.is_floating_point() else math.nan
    rule, _ = score_rule_of(model.info, config, scalars)
    return rule


def _empty_towers(
    model: VerifiedModel, config: Mapping[str, Any], checkpoint: Checkpoint
) -> dict[Modality, EmptyTower]:
    cfg = open_clip_towers.model_cfg(config)
    named = model.info.lumen.architecture
    if cfg is None and named is not None:
        cfg = open_clip_towers.known_cfg(named.name, quick_gelu=named.quick_gelu)
    if cfg is not None:
        return open_clip_towers.empty_towers(cfg, checkpoint)
    if not config:
        raise FileMissingError(
            f"{model.name} has no open_clip_config.json and no config.json, without which torch "
            "cannot build it.",
            remedy="Complete the model's folder at its source, or name open_clip's architecture in "
            "model_info.json: extra_metadata.lumen.architecture.",
        )
    return transformers_towers.empty_towers(config, checkpoint)


def _check_names(empty: Mapping[Modality, EmptyTower], checkpoint: Checkpoint, file: str) -> None:
    """Refuse weights of another architecture: each name must be wanted, each wanted one there."""
    wanted = {name for tower in empty.values() for name in tower.names().values()}
    missing = sorted(wanted - checkpoint.shapes.keys())
    unknown = sorted(
        name for name in checkpoint.shapes.keys() - wanted if not _BESIDE.fullmatch(name)
    )
    if missing or unknown:
        said = [f"has no {name}" for name in missing[:1]]
        said += [f"has {name[:200]}" for name in unknown[:1]]
        raise ResourceValidationError(
            f"{file} holds another model than its configuration describes: it "
            f"{' and '.join(said)} ({len(missing)} names missing, {len(unknown)} unknown).",
            remedy="Use the weights and the configuration that were published together.",
            file=file,
        )
