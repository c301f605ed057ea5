"""open_clip's architectures, built from the repository's own configuration and from no network.

The one module that imports open_clip and timm.
"""

import re
from collections.abc import Mapping
from typing import Any

import open_clip
import timm

from lumen_resources.errors import ResourceValidationError, RuntimeNotSupportedError
from lumen_resources.model.configs import section
from lumen_serving.backends.torch.architecture import bounded, built
from lumen_serving.backends.torch.checkpoint import Checkpoint
from lumen_serving.backends.torch.library import (
    EmptyTower,
    Module,
    Tensor,
    parameters_without_memory,
)
from lumen_serving.backends.torch.text_encoders import configured_folder, encoder_config
from lumen_terms.modality import Modality

_LIBRARY = f"open_clip {open_clip.__version__}"
_SECTIONS = ("embed_dim", "vision_cfg", "text_cfg")
# timm's own architectures; a colon would name a repository or a folder.
_TIMM_NAME = re.compile(r"[a-z0-9_.]+")
_HF_ENCODER = "text.transformer."
_TEXT = "text."


def model_cfg(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the architecture in a configuration file of open_clip's; None in any other's.

    Published files keep it under `model_cfg`, or are nothing else.
    """
    found = section(config, "model_cfg") or config
    if not all(key in found for key in _SECTIONS):
        return None
    return {**found}


def known_cfg(name: str, *, quick_gelu: bool) -> dict[str, Any]:
    """Return the architecture that open_clip knows by this name.

    Raises RuntimeNotSupportedError for a name that it does not know.
    """
    # A name with a scheme would be looked for elsewhere.
    cfg = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if cfg is None:
        raise RuntimeNotSupportedError(
            f"{_LIBRARY} has no architecture {name[:100]!r}.",
            remedy="Correct extra_metadata.lumen.architecture in model_info.json, or upgrade "
            "open_clip.",
        )
    return {**cfg, "quick_gelu": quick_gelu or cfg.get("quick_gelu", False)}


def empty_towers(cfg: Mapping[str, Any], checkpoint: Checkpoint) -> dict[Modality, EmptyTower]:
    """Return both towers of the architecture `cfg`, without weights.

    Raises ResourceValidationError when open_clip cannot build it, RuntimeNotSupportedError for a
    text tower that is not known here.
    """
    bounded(cfg)
    vision, text = dict(section(cfg, "vision_cfg")), dict(section(cfg, "text_cfg"))
    named = vision.get("timm_model_name")
    if named is not None and not _TIMM_NAME.fullmatch(str(named)):
        raise ResourceValidationError(
            f"The model's picture tower is {str(named)[:100]!r}, which is not one of timm's.",
            remedy="Use the configuration that the weights were published with.",
        )
    # Weights come from the verified file alone.
    vision["timm_model_pretrained"] = text["hf_model_pretrained"] = False
    if text.get("hf_model_name"):
        encoder = encoder_config(str(text["hf_model_name"]), checkpoint.under(_HF_ENCODER))
        with configured_folder(encoder) as folder:
            return _towers(cfg, vision, {**text, "hf_model_name": str(folder)}, checkpoint)
    return _towers(cfg, vision, text, checkpoint)


def _towers(
    cfg: Mapping[str, Any], vision: dict[str, Any], text: dict[str, Any], checkpoint: Checkpoint
) -> dict[Modality, EmptyTower]:
    with built(_LIBRARY), parameters_without_memory():
        whole = open_clip.CustomTextCLIP(
            cfg["embed_dim"], vision, text, quick_gelu=bool(cfg.get("quick_gelu", False))
        )
    # Before open_clip had a text tower of its own, its parts lay beside the picture tower.
    beneath = any(name.startswith(_TEXT) for name in checkpoint.shapes)
    return {
        Modality.IMAGE: EmptyTower(
            whole.visual,
            _first,
            "visual.{}".format,
            _fused if vision.get("timm_model_name") else None,
        ),
        Modality.TEXT: EmptyTower(
            whole.text, _first, f"{_TEXT}{{}}".format if beneath else "{}".format
        ),
    }


def _first(inner: Module, items: Tensor) -> Tensor:
    """Return the pooled vector; CoCa's towers give their tokens beside it."""
    out = inner(items)
    return out[0] if isinstance(out, tuple) else out


def _fused(inner: Module) -> Module:
    """Return a convolutional tower with the branches of its training folded into one (FastViT)."""
    fused: Module = timm.utils.reparameterize_model(inner)
    return fused
