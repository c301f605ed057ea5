"""Scenes: presets, their display labels, and vectors that are none."""

import numpy as np
import pytest

from lumen_manifest.spec.enums import ScenePreset
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_serving.classify.scenes import SceneSet, display_label
from lumen_serving.errors import LabelsUnusable
from lumen_serving.startup.load import _refuse_wrong_scenes


def test_the_default_preset_shows_short_labels():
    scenes = SceneSet.from_spec(None)

    assert scenes.labels == (
        "person", "animal", "vehicle", "food", "building", "nature", "object", "landscape",
    )  # fmt: skip
    assert scenes.prompts[1] == "a photo of an animal"


@pytest.mark.parametrize(
    "spec",
    [
        ScenesSpec(preset=ScenePreset.AUG2025),
        ScenesSpec(prompts=("a photo of a Bird", "a photo of a cup")),
    ],
)
def test_prompts_without_a_frame_of_ours_are_shown_as_they_are(spec):
    scenes = SceneSet.from_spec(spec)

    assert scenes.labels == scenes.prompts == spec.effective_prompts


@pytest.mark.parametrize(
    ("prompt", "label"),
    [("a photo of a person", "person"), ("a photo of an animal", "animal"),
     ("a photo of food", "food"), ("a photo of a landscape", "landscape")],
)  # fmt: skip
def test_labels_lose_the_frame_and_its_article(prompt, label):
    assert display_label(ScenePreset.OCT2025, prompt) == label


@pytest.mark.parametrize(("value", "found"), [(np.nan, "not finite"), (0.0, "zero")])
def test_a_scene_without_a_direction_is_named_at_the_start(value, found):
    # It would make every picture's scene wrong.
    scenes = SceneSet.from_spec(None)
    vectors = np.eye(len(scenes.prompts), 16, dtype=np.float32)
    vectors[1] = value

    with pytest.raises(LabelsUnusable, match=f"'a photo of an animal' is {found}"):
        _refuse_wrong_scenes(scenes, vectors)
