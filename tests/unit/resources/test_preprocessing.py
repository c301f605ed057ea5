"""What `preprocessor_config.json` says is done, refused, or found to contradict; never ignored."""

from typing import Any

import pytest
from model_sources import an_info

from lumen_resources.errors import ModelInfoError
from lumen_resources.model.layouts import Preprocess
from lumen_resources.model.preprocessing import (
    CLIP_MEAN,
    CLIP_STD,
    preprocess_of,
    unread_processor,
)
from lumen_resources.model.text_rules import context_length_of

HALF = (0.5, 0.5, 0.5)
CLIP: dict[str, Any] = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(CLIP_MEAN),
    "image_processor_type": "CLIPImageProcessor",
    "image_std": list(CLIP_STD),
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
SIGLIP: dict[str, Any] = {
    **{key: CLIP[key] for key in ("do_normalize", "do_rescale", "do_resize", "rescale_factor")},
    "do_convert_rgb": None,
    "image_mean": list(HALF),
    "image_processor_type": "SiglipImageProcessor",
    "image_std": list(HALF),
    "processor_class": "SiglipProcessor",
    "resample": 2,
    "size": {"height": 256, "width": 256},
}
OLDER = {
    **{key: CLIP[key] for key in ("do_center_crop", "do_normalize", "do_resize", "resample")},
    **{key: CLIP[key] for key in ("image_mean", "image_std")},
    "crop_size": 336,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "size": 336,
}
CHINESE = {
    **CLIP,
    "image_processor_type": "ChineseCLIPFeatureExtractor",
    "do_center_crop": False,
    "size": {"height": 224, "width": 224},
}
AS_INFO = {
    "size": 224,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "mean": list(CLIP_MEAN),
    "std": list(CLIP_STD),
}
JINA = {
    **AS_INFO,
    "auto_map": {"AutoImageProcessor": "x"},
    "fill_color": 0,
    "image_processor_type": "JinaCLIPImageProcessor",
    "size": 512,
}


def as_info(published: dict[str, Any]) -> dict[str, Any]:
    """The model info spells a triple out, open_clip need not."""
    return {k: [v] * 3 if isinstance(v, float) else v for k, v in published.items()}


def read(document: dict[str, Any]) -> Preprocess:
    return preprocess_of(an_info(), None, document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (CLIP, Preprocess(224, "shortest", "bicubic", CLIP_MEAN, CLIP_STD)),
        (SIGLIP, Preprocess(256, "squash", "bilinear", HALF, HALF)),
        (OLDER, Preprocess(336, "shortest", "bicubic", CLIP_MEAN, CLIP_STD)),
        (CHINESE, Preprocess(224, "squash", "bicubic", CLIP_MEAN, CLIP_STD)),
        (JINA, Preprocess(512, "shortest", "bicubic", CLIP_MEAN, CLIP_STD)),
        (
            {**CLIP, "do_normalize": False},
            Preprocess(224, "shortest", "bicubic", (0, 0, 0), (1, 1, 1)),
        ),
        (
            {**CLIP, "size": {"height": 224, "width": 224}},
            Preprocess(224, "squash", "bicubic", CLIP_MEAN, CLIP_STD),
        ),
        (
            {"feature_extractor_type": "ViTFeatureExtractor", "size": 384, "resample": 2},
            Preprocess(384, "squash", "bilinear", CLIP_MEAN, CLIP_STD),
        ),
        (
            {**CLIP, "size": {"shortest_edge": 224, "longest_edge": None, "height": None}},
            Preprocess(224, "shortest", "bicubic", CLIP_MEAN, CLIP_STD),
        ),
        ({}, Preprocess(224, "shortest", "bicubic", CLIP_MEAN, CLIP_STD)),
    ],
)
def test_what_the_file_says_is_what_is_done(document, expected):
    assert read(document) == expected


@pytest.mark.parametrize(
    ("document", "config", "crop"),
    [
        (CLIP, {"model_type": "clip"}, "down"),
        (CHINESE, {"model_type": "chinese_clip"}, "even"),
        (CLIP, {"model_cfg": {}, "preprocess_cfg": AS_INFO}, "even"),
        (JINA, {"model_type": "jina_clip"}, "even"),
        (CLIP, None, "even"),
    ],
    ids=["transformers", "nothing cropped", "open_clip's as well", "jina", "no configuration"],
)
def test_only_transformers_own_repositories_are_cropped_as_transformers_does(
    document, config, crop
):
    assert preprocess_of(an_info(), config, document).crop == crop


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"do_rescale": False}, "do_rescale"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"size": {"shortest_edge": 256}}, "256 cropped to 224"),
        ({"size": {"longest_edge": 224}}, "longest_edge"),
        ({"size": {"shortest_edge": 224, "longest_edge": 448}}, "longest_edge"),
        ({"size": {"height": 224, "width": 336}}, "square"),
        ({"size": [224, 224]}, "size"),
        ({"size": "224"}, "size"),
        ({"size": {"shortest_edge": 0}, "crop_size": 0}, "size"),
        ({"size": {"shortest_edge": 99999}, "crop_size": 99999}, "size"),
        ({"crop_size": {"height": 224, "width": 200}}, "square"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"resample": 0}, "nearest"),
        ({"resample": 1}, "lanczos"),
        ({"resample": 5}, "hamming"),
        ({"resample": 9}, "unknown"),
        ({"resample": "bicubic"}, "resample"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"image_mean": 0.5}, "image_mean"),
        ({"image_std": [0, 1, 1]}, "std"),
        ({"do_pad": True}, "do_pad"),
        ({"do_grayscale": True}, "do_grayscale"),
        ({"crop_pct": 0.9}, "crop_pct"),
        ({"max_num_patches": 256}, "max_num_patches"),
        ({"do_resize": "yes"}, "do_resize"),
        ({"interpolation": "bilinear"}, "beside"),
    ],
)
def test_what_is_not_computed_here_is_refused(change, says):
    with pytest.raises(ModelInfoError, match=says):
        read({**CLIP, **change})


@pytest.mark.parametrize(
    ("published", "field"),
    [
        ({"size": 256}, "size"),
        ({"interpolation": "bilinear"}, "interpolation"),
        ({"resize_mode": "squash"}, "resize_mode"),
        ({"mean": list(HALF)}, "mean"),
        ({"std": 1.0}, "std"),
    ],
)
def test_files_that_contradict_each_other_are_refused_and_both_named(published, field):
    beside = {"preprocess_cfg": published}
    sayings = (
        lambda: preprocess_of(an_info(preprocess=AS_INFO | as_info(published)), None, CLIP),
        lambda: preprocess_of(an_info(preprocess=AS_INFO), beside),
    )

    for saying in sayings:
        with pytest.raises(ModelInfoError, match=f"differently: .* says {field} .* says "):
            saying()


@pytest.mark.parametrize("processor", [CLIP, {**CLIP, "do_pad": True}])
@pytest.mark.parametrize("part", ["preprocess_cfg", "model_cfg"])
def test_open_clips_configuration_decides_and_what_transformers_says_otherwise_is_told(
    part, processor
):
    squashed = {"preprocess_cfg": {"resize_mode": "squash", "mean": list(HALF)}}
    config = {"model_cfg": {"vision_cfg": {"image_size": 378}}} | (
        squashed if part == "preprocess_cfg" else {}
    )

    found = preprocess_of(an_info(), config, processor)
    (told,) = unread_processor(an_info(), config, processor)

    assert found == preprocess_of(an_info(), config)
    assert found.size == 378
    assert told.startswith("preprocessor_config.json is not read beside open_clip_config.json")
    assert ("size 224, where 378 is used" in told) == (processor is CLIP)


def test_nothing_is_told_of_a_file_that_agrees_or_is_read():
    assert unread_processor(an_info(), {"preprocess_cfg": AS_INFO}, CLIP) == ()
    assert unread_processor(an_info(), {"model_type": "clip"}, SIGLIP) == ()
    assert unread_processor(an_info(), {"preprocess_cfg": AS_INFO}, None) == ()


def test_files_that_agree_are_read_together():
    rounded = {"mean": [0.4815, 0.4578, 0.4082], "size": [224, 224]}

    assert preprocess_of(an_info(preprocess=AS_INFO), {"preprocess_cfg": rounded}, CLIP) == read(
        CLIP
    )


def test_a_text_longer_than_the_tower_has_positions_is_refused():
    config = {"text_config": {"max_position_embeddings": 64}}

    assert context_length_of(an_info(context_length=64), config) == 64
    with pytest.raises(ModelInfoError, match="64 positions"):
        context_length_of(an_info(), config)


def test_a_tower_that_is_built_for_another_size_than_pictures_get_is_refused():
    config = {
        "model_cfg": {"embed_dim": 8, "vision_cfg": {"image_size": 256}, "text_cfg": {}},
        "preprocess_cfg": {"size": [224, 224]},
    }

    with pytest.raises(ModelInfoError, match="image_size is 256"):
        preprocess_of(an_info(), config)
