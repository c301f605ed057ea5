"""The model's square of pixels beside open_clip's transform and transformers' processors."""

import io
from functools import cache

import numpy as np
import open_clip
import orjson
import pytest
import tiny_models
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import (
    ChineseCLIPImageProcessorPil,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from lumen_resources.model.layouts import Preprocess
from lumen_resources.model.model_info import ModelInfo
from lumen_resources.model.preprocessing import preprocess_of
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.preprocess import Normaliser

OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5,) * 3, (0.5,) * 3)
NONE = ((0.0,) * 3, (1.0,) * 3)
# Each way in which a model that people run prepares its pictures.
WAYS = {
    "ViT-B-32": (224, "shortest", "bicubic", OPENAI),
    "ViT-B-16-plus": (240, "shortest", "bicubic", OPENAI),
    "ViT-L-14-336": (336, "shortest", "bicubic", OPENAI),
    "ViT-L-14 laion2b_s32b_b82k": (224, "shortest", "bicubic", HALF),
    "DFN5B H-14": (224, "squash", "bicubic", OPENAI),
    "DFN5B H-14-378": (378, "squash", "bicubic", OPENAI),
    "MobileCLIP2-S2": (256, "shortest", "bilinear", NONE),
    "MobileCLIP2-B": (224, "shortest", "bilinear", NONE),
    "MobileCLIP2-S4": (256, "shortest", "bilinear", OPENAI),
    "SigLIP": (224, "squash", "bicubic", HALF),
    "SigLIP 2 512": (512, "squash", "bicubic", HALF),
    "PE-Core": (336, "squash", "bilinear", HALF),
    "jina-clip-v2": (512, "shortest", "bicubic", OPENAI),
}
# Wide, tall, smaller than any model, narrow, and rests of the crop of each kind.
SIZES = [(640, 427), (333, 517), (50, 40), (257, 1023), (225, 224), (227, 224)]


def a_preprocess(way: str) -> Preprocess:
    size, mode, interpolation, (mean, std) = WAYS[way]
    return Preprocess(size, mode, interpolation, mean, std)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return tiny_models.a_picture(width * 7 + height, width, height).convert(mode)


@cache
def encoded(size: tuple[int, int], kind: str = "PNG", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    picture(*size, mode).save(out, kind, quality=90)
    return out.getvalue()


def ours(payload: bytes, preprocess: Preprocess) -> np.ndarray:
    return Normaliser.of(preprocess)(decode_rgb(payload, "", preprocess)[None])[0]


def open_clips(payload: bytes, preprocess: Preprocess) -> np.ndarray:
    cfg = PreprocessCfg(
        size=preprocess.size,
        mean=preprocess.mean,
        std=preprocess.std,
        interpolation=preprocess.interpolation,
        resize_mode=preprocess.resize_mode,
    )
    with Image.open(io.BytesIO(payload)) as image:
        return image_transform_v2(cfg, is_train=False)(image).numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_a_png_becomes_open_clips_input_to_the_bit(way, size):
    payload, preprocess = encoded(size), a_preprocess(way)

    assert np.array_equal(ours(payload, preprocess), open_clips(payload, preprocess))


@pytest.mark.parametrize("way", WAYS)
def test_grey_is_as_exact(way):
    payload, preprocess = encoded((640, 427), mode="L"), a_preprocess(way)

    assert np.array_equal(ours(payload, preprocess), open_clips(payload, preprocess))


@pytest.mark.parametrize("size", [(640, 427), (1600, 1200)], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_is_within_what_decoding_it_by_a_fraction_costs(way, size):
    payload = encoded(size, "JPEG")
    preprocess = a_preprocess(way)

    got, wanted = ours(payload, preprocess), open_clips(payload, preprocess)

    assert cosine(got, wanted) > 0.99999


PROCESSORS = {
    "clip": (CLIPImageProcessorPil, {}),
    "clip 336": (CLIPImageProcessorPil, {"size": {"shortest_edge": 336}, "crop_size": 336}),
    "siglip": (SiglipImageProcessorPil, {"size": {"height": 256, "width": 256}}),
    "chinese-clip": (
        ChineseCLIPImageProcessorPil,
        {"size": {"height": 224, "width": 224}, "do_center_crop": False},
    ),
}


def a_model_info() -> ModelInfo:
    return ModelInfo.model_validate(
        {
            "name": "m",
            "version": "1.0.0",
            "description": "m",
            "model_type": "clip",
            "source": {"format": "huggingface", "repo_id": "m"},
            "runtimes": {"torch": {"available": True}},
        }
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_png_becomes_the_input_of_transformers_own_processor(name, size):
    kind, changes = PROCESSORS[name]
    processor = kind(**changes)
    published = orjson.loads(processor.to_json_string())
    preprocess = preprocess_of(a_model_info(), {"model_type": "clip"}, published)
    image = picture(*size)

    got = ours(encoded(size), preprocess)

    wanted = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    assert np.abs(got - wanted).max() < 1e-5


TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 96, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.mark.parametrize("said", [{"resize_mode": "squash", "mean": list(HALF[0])}, {}])
def test_beside_open_clips_configuration_transformers_file_decides_nothing(tmp_path, said):
    """As in DFN5B's repositories: open_clip's own loader is asked."""
    config = {"model_cfg": TINY, "preprocess_cfg": said}
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.1] * 3,
        "resample": 2,
    }
    (tmp_path / "open_clip_config.json").write_bytes(orjson.dumps(config))
    (tmp_path / "preprocessor_config.json").write_bytes(orjson.dumps(processor))
    model = open_clip.CLIP(**TINY)
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    _, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    payload = encoded((333, 217))

    found = preprocess_of(a_model_info(), config, processor)

    with Image.open(io.BytesIO(payload)) as image:
        np.testing.assert_array_equal(transform(image).numpy(), ours(payload, found))
