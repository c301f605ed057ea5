"""When smart_classify delegates to the species service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_router.cascade.rule import (
    ROUNDING,
    CascadeDecision,
    decide,
    fallback_reserve_s,
    is_routed,
    stage_figures,
)

RULES = ScenesSpec()


@pytest.mark.parametrize(
    ("shares", "decision", "scene"),
    [
        ({"animal": 0.9, "vehicle": 0.1}, CascadeDecision.ROUTED, "animal"),
        ({"vehicle": 0.9, "animal": 0.1}, CascadeDecision.NOT_ROUTED, "vehicle"),
        # First minus second would be 0: together they are sure.
        ({"animal": 0.45, "bird": 0.45, "object": 0.1}, CascadeDecision.ROUTED, "animal"),
        ({"vehicle": 0.4, "animal": 0.3, "bird": 0.3}, CascadeDecision.ROUTED, "animal"),
        (
            {"animal": 0.45, "vehicle": 0.2, "food": 0.2, "person": 0.15},
            CascadeDecision.BELOW_THRESHOLD,
            "animal",
        ),
        ({"animal": 0.52, "nature": 0.48}, CascadeDecision.WITHIN_MARGIN, "animal"),
        ({"animal": 0.55, "nature": 0.45}, CascadeDecision.ROUTED, "animal"),
        ({"animal": 0.5, "nature": 0.4, "food": 0.1}, CascadeDecision.ROUTED, "animal"),
        ({"nature": 0.5, "animal": 0.5}, CascadeDecision.WITHIN_MARGIN, "nature"),
        ({"nature": 1.0}, CascadeDecision.NOT_ROUTED, "nature"),
        ({"animal": 1.0}, CascadeDecision.ROUTED, "animal"),
    ],
)
def test_the_summed_share_decides(shares, decision, scene):
    verdict = decide(list(shares.items()), RULES)

    assert decision is verdict.decision
    assert scene == verdict.scene
    assert shares[scene] == verdict.scene_share


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["animal", "a photo of a bird", "an Insect", "food", "sea"]),
            st.floats(0, 1, width=32),
        ),
        min_size=1,
        max_size=12,
    ),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_delegation_is_exactly_the_rule(scenes, threshold, margin):
    rules = ScenesSpec(threshold=threshold, margin=margin)
    routed = [share for label, share in scenes if label not in {"food", "sea"}]
    other = max((share for label, share in scenes if label in {"food", "sea"}), default=0.0)
    clear = sum(routed) - other

    verdict = decide(scenes, rules)

    if verdict.decision is CascadeDecision.ROUTED:
        assert routed
        assert sum(routed) >= threshold - ROUNDING
        assert clear >= margin - ROUNDING
    else:
        assert not routed or sum(routed) < threshold or clear < margin


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_bound_never_delegates_more(share, threshold, margin, more):
    scenes = [("animal", share), ("food", 1 - share)]
    strict = ScenesSpec(threshold=min(1, threshold + more), margin=min(1, margin + more))
    loose = ScenesSpec(threshold=threshold, margin=margin)

    if decide(scenes, strict).decision is CascadeDecision.ROUTED:
        assert CascadeDecision.ROUTED is decide(scenes, loose).decision


def test_no_scenes_are_no_decision():
    with pytest.raises(ValueError, match="no scenes"):
        decide([], RULES)


@pytest.mark.parametrize(
    ("spec", "label", "routed"),
    [
        ({}, "animal", True),
        ({}, "A photo of an INSECT", True),
        ({}, "plant", False),
        ({"preset": "organisms"}, "plant", True),
        ({"preset": "organisms"}, "fungus", True),
        ({"preset": "organisms"}, "vehicle", False),
        ({"preset": "aug2025"}, "a photo of a bird", True),
        ({"preset": "aug2025"}, "an abstract painting", False),
        ({"prompts": ["a cat", "a dog"], "routes": ["cat"]}, "a cat", True),
        ({"prompts": ["a cat", "a dog"], "routes": ["cat"]}, "a dog", False),
        ({"routes": []}, "animal", False),
    ],
)
def test_presets_and_configured_words_say_what_is_routed(spec, label, routed):
    scenes = ScenesSpec.model_validate(spec)

    assert routed == is_routed(label, scenes.effective_routes)


@pytest.mark.parametrize(
    ("budget_s", "kept_s"), [(30.0, 3.0), (1.0, 0.1), (0.5, 0.05), (0.2, 0.05), (0.01, 0.05)]
)
def test_a_tenth_and_at_least_50_ms_are_kept_for_the_fallback(budget_s, kept_s):
    assert kept_s == pytest.approx(fallback_reserve_s(budget_s))


def test_a_pods_own_figures_are_told_apart_by_stage():
    meta = {"model_ms": "3.1", "lat_ms": "4", "retry_after_ms": "9", "dim": "8"}

    assert stage_figures("species", meta) == {"species_model_ms": "3.1"}
