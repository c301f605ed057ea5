"""From cosines to scores, by the model's score rule.

A softmax shares out 1 over all labels of the set in use: how they compare with each other. A
sigmoid scores each label for itself, whatever else the set holds, and so can say that none fits.
"""

import numpy as np
from numpy.typing import NDArray

from lumen_resources.model.layouts import ScoreRule

Doubles = NDArray[np.float64]


def shares(cosines: NDArray[np.floating], logit_scale: float) -> Doubles:
    """Return each label's share, for cosines [..., N] of the whole label set; they add up to 1."""
    logits = cosines.astype(np.float64) * logit_scale
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    parts: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return parts


def sigmoids(cosines: NDArray[np.floating], rule: ScoreRule) -> Doubles:
    """Return 1 / (1 + exp(-(scale * cosine + bias))) of each cosine, in float64.

    As a logarithm first: far from the middle nothing overflows, and what is small stays exact.
    """
    logits = cosines.astype(np.float64) * rule.scale + rule.bias
    found: Doubles = np.exp(-np.logaddexp(0.0, -logits))
    return found


def score_facts(rule: ScoreRule) -> dict[str, str]:
    """Return what a client needs to know of the scores, as response meta."""
    said = {"score_rule": rule.kind, "logit_scale": f"{rule.scale:g}"}
    if rule.kind == "sigmoid":
        said["logit_bias"] = f"{rule.bias:g}"
    return said
