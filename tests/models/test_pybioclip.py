"""The preset `pybioclip` beside torchvision's own transform, as pybioclip applies it."""

import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision import transforms

from lumen_manifest.spec.enums import PreprocessPreset
from lumen_resources.model.layouts import Preprocess
from lumen_resources.model.preprocessing import CLIP_MEAN, CLIP_STD, under_preset
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.preprocess import Normaliser

torch.set_num_threads(2)
OWN = Preprocess(224, "shortest", "bicubic", CLIP_MEAN, CLIP_STD)
PRESET = under_preset(OWN, PreprocessPreset.PYBIOCLIP)
# `preprocess_img` of pybioclip 2.1.
PYBIOCLIPS = transforms.Compose(
    [
        transforms.ToTensor(),
        transforms.Resize((224, 224), antialias=True),
        transforms.Normalize(mean=CLIP_MEAN, std=CLIP_STD),
    ]
)


def a_picture(width: int, height: int) -> Image.Image:
    """Edges, gradients and noise: what a filter and its rounding show on."""
    rng = np.random.default_rng(width)
    y, x = np.mgrid[:height, :width]
    waves = 127 + 120 * np.sin(x / 7) * np.cos(y / 11)
    noise = rng.integers(0, 60, (height, width, 3))
    return Image.fromarray(np.clip(waves[..., None] + noise - 30, 0, 255).astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("size", [(500, 300), (224, 224), (90, 130), (1500, 60), (301, 299)])
def test_the_models_input_is_pybioclips_but_for_one_rounding_to_whole_levels(size):
    picture = a_picture(*size)
    wanted = PYBIOCLIPS(picture).numpy()

    got = Normaliser.of(PRESET)(decode_rgb(png(picture), "image/png", PRESET)[None])[0]

    levels = np.abs(got - wanted) * np.float32(CLIP_STD)[:, None, None] * 255
    assert levels.max() < 0.501
    own = Normaliser.of(OWN)(decode_rgb(png(picture), "image/png", OWN)[None])[0]
    assert np.abs(own - wanted).max() > 0.05 or size == (224, 224)


def test_the_vectors_are_pybioclips_and_not_those_of_the_models_own_preprocessing():
    torch.manual_seed(3)
    tower = open_clip.model.CLIP(
        64,
        {"image_size": 224, "patch_size": 16, "layers": 4, "width": 128},
        {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1},
    ).eval()
    picture = a_picture(640, 400)

    def vector(pixels: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return tower.encode_image(torch.from_numpy(pixels), normalize=True)[0]

    def under(preprocess: Preprocess) -> torch.Tensor:
        square = decode_rgb(png(picture), "image/png", preprocess)
        return vector(Normaliser.of(preprocess)(square[None]))

    wanted = vector(PYBIOCLIPS(picture).numpy()[None])
    assert (under(PRESET) @ wanted).item() > 0.9999
    assert (under(OWN) @ wanted).item() < (under(PRESET) @ wanted).item() - 1e-4
