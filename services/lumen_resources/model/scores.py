"""How a model's cosines become scores: as stated, as its weights have it, else what keeps ranks.

Pure but for `scalars_of`, which reads two numbers of a verified safetensors file by their place.
"""

import math
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import ResourceValidationError
from lumen_resources.model.configs import model_cfg_of, word
from lumen_resources.model.contents import read_safetensors_header
from lumen_resources.model.layouts import ScoreRule
from lumen_resources.model.model_info import ModelInfo, ScoreInfo

SCALE, BIAS = "logit_scale", "logit_bias"
# What training in parallel puts before each name of a checkpoint.
PARALLEL = "module."
# What CLIP's scale was bounded by in training; most checkpoints reach it.
DEFAULT_SCALE = 100.0
LARGEST_SCALE, LARGEST_BIAS = 1000.0, 1000.0
NO_BIAS = (
    "scores are shares of the label set, not each label's own: the files hold no logit scale and "
    "bias (state extra_metadata.lumen.score with kind sigmoid, scale and bias to have them)"
)
_FORMATS = {"F32": "<f", "F16": "<e", "F64": "<d"}


def inferred_score(config: Mapping[str, Any] | None) -> ScoreInfo:
    """Return the kind of score that a configuration means; numbers stand in the weights."""
    has_bias = model_cfg_of(config).get("init_logit_bias") is not None
    is_siglip = word(config or {}, "model_type") == "siglip"
    return ScoreInfo(kind="sigmoid" if has_bias or is_siglip else "softmax")


def score_rule_of(
    info: ModelInfo, config: Mapping[str, Any] | None, scalars: Mapping[str, float]
) -> tuple[ScoreRule, tuple[str, ...]]:
    """Return the rule, and what a user should know of it.

    `scalars` are the weights' logarithmic scale and their bias, as far as they were found.
    A sigmoid needs its bias: without one every label would seem to fit, so shares are given.
    """
    stated = info.lumen.score or inferred_score(config)
    logarithm = scalars.get(SCALE)
    read = None if logarithm is None else _within(SCALE, logarithm, math.log(LARGEST_SCALE))
    found = None if read is None else math.exp(read)
    scale = stated.scale or info.lumen.logit_scale or found
    if stated.kind == "softmax":
        return ScoreRule("softmax", scale or DEFAULT_SCALE), ()
    bias = stated.bias
    if bias is None and BIAS in scalars:
        bias = _within(BIAS, scalars[BIAS], LARGEST_BIAS)
    if scale is None or bias is None:
        return ScoreRule("softmax", scale or DEFAULT_SCALE), (NO_BIAS,)
    return ScoreRule("sigmoid", scale, bias), ()


def scalars_of(paths: Collection[Path]) -> dict[str, float]:
    """Return `logit_scale` and `logit_bias` of safetensors files, as far as they hold them.

    Raises ResourceValidationError for a header that is damaged.
    """
    found: dict[str, float] = {}
    for path in paths:
        if path.suffix != ".safetensors":
            continue
        header = read_safetensors_header(path)
        for name in (SCALE, BIAS):
            tensor = header.tensors.get(name, header.tensors.get(f"{PARALLEL}{name}"))
            width = 0 if tensor is None else _WIDTHS.get(tensor.dtype, 0)
            if tensor is None or tensor.elements != 1 or tensor.end - tensor.start != width:
                continue
            with open_regular(path) as file:
                file.seek(header.data_start + tensor.start)
                content = file.read(width)
            found[name] = _number(content, tensor.dtype)
    return found


_WIDTHS = {**{name: struct.calcsize(f) for name, f in _FORMATS.items()}, "BF16": 2}


def _number(content: bytes, dtype: str) -> float:
    if dtype == "BF16":  # the upper half of a float32
        return float(struct.unpack("<f", b"\0\0" + content)[0])
    return float(struct.unpack(_FORMATS[dtype], content)[0])


def _within(name: str, value: float, most: float) -> float:
    if math.isfinite(value) and abs(value) <= most:
        return value
    raise ResourceValidationError(
        f"The weights' {name} is {value:g}, which no trained model has.",
        remedy="State extra_metadata.lumen.score in model_info.json, or take another checkpoint.",
    )
