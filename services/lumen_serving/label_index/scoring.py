"""From cosines to shares, and from labels to taxonomic ranks: pure arithmetic.

A share is softmax(logit_scale * cosine) over the label set in use: how the labels compare with
each other, not how probable it is that one is true.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumen_resources.labels.label_sets import Lineage


@dataclass(frozen=True, slots=True)
class Groups:
    """Labels rolled up to a rank: `codes` int32 [N] says which of `names` each row belongs to."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]
    lineages: tuple[Lineage, ...]


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return shares along the last axis; they add up to 1 for logits of any size."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    total: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return total


def shares(cosines: NDArray[np.floating], logit_scale: float) -> NDArray[np.float64]:
    """Return each label's share, for cosines [..., N] of the whole label set."""
    return softmax(cosines.astype(np.float64) * logit_scale)


def group_by_rank(lineages: Sequence[Lineage], rank_index: int) -> Groups:
    """Group labels by the first `rank_index` + 1 parts of their lineage (0: kingdom, 6: species).

    Two families of one name in different orders stay apart. A group is called by its own rank; a
    species by `Genus epithet`; one whose rank is unknown by `*`.
    """
    seen: dict[Lineage, int] = {}
    codes = np.empty(len(lineages), np.int32)
    for row, lineage in enumerate(lineages):
        codes[row] = seen.setdefault(lineage[: rank_index + 1], len(seen))
    return Groups(codes, tuple(_rank_name(prefix) for prefix in seen), tuple(seen))


def _rank_name(prefix: Lineage) -> str:
    if len(prefix) == 7 and prefix[5] and prefix[6]:
        return f"{prefix[5]} {prefix[6]}"
    return prefix[-1] or "*"
