"""Scenes: presets, their display labels, and which of them are delegated."""

import pytest

from lumen_manifest.spec.enums import ScenePreset
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_serving.classify.scenes import SceneSet, display_label


def test_the_default_preset_shows_short_labels_and_routes_the_animal():
    scenes = SceneSet.from_spec(None)

    assert scenes.labels == (
        "person", "animal", "vehicle", "food", "building", "nature", "object", "landscape",
    )  # fmt: skip
    assert scenes.prompts[1] == "a photo of an animal"
    assert scenes.routed == (False, True, *[False] * 6)


def test_aug2025_shows_full_prompts_and_routes_three():
    scenes = SceneSet.from_spec(ScenesSpec(preset=ScenePreset.AUG2025))

    assert scenes.labels == scenes.prompts
    assert scenes.routed == (True, True, True, False, False, False)


def test_organisms_route_plants_and_fungi_too():
    scenes = SceneSet.from_spec(ScenesSpec(preset=ScenePreset.ORGANISMS))

    routed = [label for label, yes in zip(scenes.labels, scenes.routed, strict=True) if yes]
    assert routed == ["animal", "plant", "fungus"]


def test_own_prompts_are_shown_as_they_are_and_routed_by_the_same_words():
    scenes = SceneSet.from_spec(ScenesSpec(prompts=("a photo of a Bird", "a photo of a cup")))

    assert scenes.labels == ("a photo of a Bird", "a photo of a cup")
    assert scenes.routed == (True, False)


def test_routes_may_be_replaced_and_emptied():
    assert SceneSet.from_spec(ScenesSpec(routes=("food",))).routed[3]
    assert not any(SceneSet.from_spec(ScenesSpec(routes=())).routed)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [("a photo of a person", "person"), ("a photo of an animal", "animal"),
     ("a photo of food", "food"), ("a photo of a landscape", "landscape")],
)  # fmt: skip
def test_labels_lose_the_frame_and_its_article(prompt, label):
    assert display_label(ScenePreset.OCT2025, prompt) == label
