"""A scene whose vector is none would make every picture's scene wrong: the start says which."""

import numpy as np
import pytest

from lumen_serving.classify.scenes import SceneSet
from lumen_serving.errors import LabelsUnusable
from lumen_serving.startup.load import _refuse_wrong_scenes


@pytest.mark.parametrize(("value", "found"), [(np.nan, "not finite"), (0.0, "zero")])
def test_a_scene_without_a_direction_is_named_at_the_start(value, found):
    scenes = SceneSet.from_spec(None)
    vectors = np.eye(len(scenes.prompts), 16, dtype=np.float32)
    vectors[1] = value

    with pytest.raises(LabelsUnusable, match=f"'a photo of an animal' is {found}"):
        _refuse_wrong_scenes(scenes, vectors)
