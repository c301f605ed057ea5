"""When `smart_classify` asks the species service: the decision, and its share of time. Pure.

`run` runs the two stages and calls these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lumen_manifest.spec.model_spec import ScenesSpec

FALLBACK_SHARE = 0.1
FALLBACK_AT_LEAST_S = 0.05
ROUNDING = 1e-6


class CascadeDecision(StrEnum):
    """What the scene stage's answer means for the species stage."""

    ROUTED = "routed"
    NOT_ROUTED = "not_routed"
    BELOW_THRESHOLD = "below_threshold"
    WITHIN_MARGIN = "within_margin"


class Source(StrEnum):
    """Which stage spoke: the closed set that clients compare as exact strings."""

    SPECIES = "bioclip_classification"
    SCENE = "scene_classification"
    FALLBACK = "scene_classification_fallback"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision with the figures it was taken on. Shares are within the scene set, 0 to 1.

    `scene` is what an answer names: the best routed scene when routed, else the best of all.
    """

    decision: CascadeDecision
    scene: str
    scene_share: float
    routed_share: float
    other_share: float


def decide(scenes: Sequence[tuple[str, float]], rules: ScenesSpec) -> Verdict:
    """Delegate when the routed scenes together are likely enough and clear of the best other.

    Their summed share must be at least `threshold` and exceed the best scene that is not routed
    by `margin`: first minus second would fail where "animal" and "bird" share the mass.
    Raises ValueError when there are no scenes.
    """
    if not scenes:
        raise ValueError("there are no scenes to decide on")
    words = rules.effective_routes
    routed = [scene for scene in scenes if is_routed(scene[0], words)]
    others = [scene for scene in scenes if not is_routed(scene[0], words)]
    routed_share = sum(share for _, share in routed)
    other_share = max((share for _, share in others), default=0.0)
    decision = _weigh(bool(routed), routed_share, other_share, rules)
    named = routed if decision is CascadeDecision.ROUTED else scenes
    label, share = max(named, key=lambda scene: scene[1])
    return Verdict(decision, label, share, routed_share, other_share)


def is_routed(label: str, words: Sequence[str]) -> bool:
    """Tell whether a scene with this label is delegated: it contains one of the words."""
    folded = label.casefold()
    return any(word.casefold() in folded for word in words)


def _weigh(any_routed: bool, routed: float, other: float, rules: ScenesSpec) -> CascadeDecision:
    if not any_routed or routed < other:
        return CascadeDecision.NOT_ROUTED
    # Shares were rounded to float32 on their way: a bound met exactly counts as met.
    if routed < rules.threshold - ROUNDING:
        return CascadeDecision.BELOW_THRESHOLD
    if routed - other < rules.margin - ROUNDING:
        return CascadeDecision.WITHIN_MARGIN
    return CascadeDecision.ROUTED


def fallback_reserve_s(budget_s: float) -> float:
    """Return how much of the whole deadline is kept for answering without the species stage."""
    return max(FALLBACK_AT_LEAST_S, FALLBACK_SHARE * budget_s)


def stage_figures(stage: str, meta: Mapping[str, str]) -> dict[str, str]:
    """Return a pod's own `*_ms` figures under the stage's name, `model_ms` as `scene_model_ms`."""
    return {
        f"{stage}_{key}": value
        for key, value in meta.items()
        if key.endswith("_ms") and key not in {"lat_ms", "retry_after_ms"}
    }
