"""transformers' own models: CLIP, SigLIP, Chinese CLIP, MetaCLIP 2, and M-CLIP's text tower.

The one module that imports transformers. Configurations are read field by field into the classes
named here; what a file says of code, kernels or quantisation never reaches the library.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import transformers

from lumen_resources.errors import RuntimeNotSupportedError
from lumen_resources.model.configs import section
from lumen_serving.backends.torch.architecture import bounded, built
from lumen_serving.backends.torch.checkpoint import Checkpoint
from lumen_serving.backends.torch.library import (
    TORCH,
    EmptyTower,
    Module,
    Tensor,
    parameters_without_memory,
)
from lumen_serving.backends.torch.text_encoders import encoder_config
from lumen_terms.modality import Modality

_LIBRARY = f"transformers {transformers.__version__}"
_PARTS = {
    Modality.IMAGE: {"vision_model", "visual_projection"},
    Modality.TEXT: {"text_model", "text_projection"},
}
_SECTIONS = ("text_config", "vision_config")
# Of a configuration's fields, these choose code and not numbers.
_NEVER = {"attn_implementation", "dtype", "torch_dtype", "model_type", "auto_map"}
# M-CLIP's names.
_ENCODER, _PROJECTION = "transformer", "LinearTransformation"


def _pictures(model: Module, pictures: Tensor) -> Tensor:
    return model.get_image_features(pixel_values=pictures).pooler_output


def _texts(model: Module, tokens: Tensor) -> Tensor:
    """Without a mask: the tower is causal, or was trained on rows filled up to the end."""
    return model.get_text_features(input_ids=tokens).pooler_output


def _masked_texts(model: Module, tokens: Tensor) -> Tensor:
    mask = (tokens != model.config.text_config.pad_token_id).long()
    return model.get_text_features(input_ids=tokens, attention_mask=mask).pooler_output


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A model of transformers', and how its text tower is asked."""

    configuration: type[Any]
    model: type[Any]
    texts: Callable[[Module, Tensor], Tensor]


_KINDS = {
    "clip": ModelKind(transformers.CLIPConfig, transformers.CLIPModel, _texts),
    "siglip": ModelKind(transformers.SiglipConfig, transformers.SiglipModel, _texts),
    "metaclip_2": ModelKind(transformers.MetaClip2Config, transformers.MetaClip2Model, _texts),
    "chinese_clip": ModelKind(
        transformers.ChineseCLIPConfig, transformers.ChineseCLIPModel, _masked_texts
    ),
}
_WHY_NOT = {
    "siglip2": "it takes pictures of any shape (naflex), and no server of fixed squares gives its "
    "vectors",
    "jina_clip": "its code lies in the repository, and no foreign code is run",
}


def empty_towers(config: Mapping[str, Any], checkpoint: Checkpoint) -> dict[Modality, EmptyTower]:
    """Return the towers of the model that a config.json describes, without weights.

    Raises RuntimeNotSupportedError for a model that is not known here, ResourceValidationError
    when transformers cannot build it.
    """
    bounded(config)
    if isinstance(config.get("modelBase"), str):
        return {Modality.TEXT: _multilingual(config, checkpoint)}
    name = str(config.get("model_type", ""))
    kind = _KINDS.get(name)
    if kind is None:
        why = _WHY_NOT.get(name, "known are " + ", ".join(sorted(_KINDS)) + " and open_clip's")
        raise RuntimeNotSupportedError(
            f"torch does not serve a model of type {name[:100]!r}: {why}.",
            remedy="Take another model; or ONNX files of this one, with runtime onnx.",
            file="config.json",
        )
    return {modality: _tower(kind, config, modality) for modality in Modality}


def _tower(kind: ModelKind, config: Mapping[str, Any], modality: Modality) -> EmptyTower:
    with built(_LIBRARY), parameters_without_memory():
        model = kind.model(_configuration(kind.configuration, config))
    for name in {*dict(model.named_children()), *dict(model.named_parameters(recurse=False))}:
        if name not in _PARTS[modality]:
            delattr(model, name)
    call = _pictures if modality is Modality.IMAGE else kind.texts
    return EmptyTower(model, call, "{}".format)


def _configuration(configuration: type[Any], config: Mapping[str, Any]) -> Any:
    """Return the configuration with the numbers that the file gives, and nothing else of it."""
    defaults = configuration().to_dict()
    fields = _numbers(config, defaults)
    sections = {name: _numbers(section(config, name), defaults[name]) for name in _SECTIONS}
    return configuration(**fields, **sections)


def _numbers(said: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in said.items()
        if key in defaults
        and key not in _NEVER
        and not key.startswith("_")
        and isinstance(value, int | float | str)
    }


def _multilingual(config: Mapping[str, Any], checkpoint: Checkpoint) -> EmptyTower:
    """Return M-CLIP's text tower: an encoder, the mean over its mask, a linear layer.

    Source: FreddeFrallan/Multilingual-CLIP, multilingual_clip/pt_multilingual_clip.py.
    """
    base = str(config["modelBase"])
    encoder = encoder_config(base, checkpoint.under(f"{_ENCODER}."))
    dim, width = config.get("numDims"), config.get("transformerDimensions")
    with built(_LIBRARY), parameters_without_memory():
        inner = TORCH.nn.ModuleDict(
            {
                _ENCODER: transformers.AutoModel.from_config(
                    transformers.AutoConfig.for_model(**encoder), add_pooling_layer=False
                ),
                _PROJECTION: TORCH.nn.Linear(width, dim),
            }
        )
    return EmptyTower(inner, _mean_projected, "{}".format)


def _mean_projected(inner: Module, tokens: Tensor) -> Tensor:
    encoder = inner[_ENCODER]
    mask = (tokens != encoder.config.pad_token_id).long()
    states = encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
    mean = (states * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1)[:, None]
    return inner[_PROJECTION](mean.to(states.dtype))
