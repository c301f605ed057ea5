"""From a repository of transformers' to vectors, beside transformers' own way on the same files."""

import io
import json

import numpy as np
import pytest
import repositories
import tiny_models
import torch
from trained_tokenizers import write_word_list
from transformers import AutoTokenizer
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import (
    ChineseCLIPImageProcessorPil,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from verified_repositories import derived

from lumen_manifest.spec.enums import Accelerator
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.torch.backend import TorchBackend
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer

NAMES = ("transformers-clip", "transformers-siglip", "transformers-siglip2",
         "transformers-metaclip2", "chinese-clip", "chinese-clip without tokenizer.json",
         "m-clip")  # fmt: skip
PROCESSORS = {
    "CLIPImageProcessor": CLIPImageProcessorPil,
    "SiglipImageProcessor": SiglipImageProcessorPil,
    "ChineseCLIPImageProcessor": ChineseCLIPImageProcessorPil,
}
TEXTS = (
    "a photo of a cat",
    "A Photo of a CAT, on the roof!",
    "海边红房子屋顶上的一只猫的照片",
    "Фотография кошки — schön 🦋",
    "the dog runs over the grass " * 30,
)
# What is cropped away of the second is an odd number of pixels, of which half is rounded.
SIZES = ((640, 427), (67, 64), (90, 300))


@pytest.fixture(scope="module", params=NAMES)
def published(request, tmp_path_factory):
    name, _, without = request.param.partition(" without ")
    folder = tmp_path_factory.mktemp("repositories") / name
    reference = repositories.write(folder, name)
    if without:
        for path in (without, "tokenizer_config.json", "special_tokens_map.json"):
            (folder / path).unlink()
        write_word_list(folder, repositories.ROWS[name].kind)
    model = derived(folder)
    backend = TorchBackend()
    backend.load(model, BackendSettings(Accelerator.CPU, threads=2))
    yield folder, reference, model, backend
    backend.close()


def apart(vectors):
    """Random weights that answer the same for everything would prove nothing."""
    return (vectors[0] @ vectors[-1]) < 0.999


def test_texts_have_the_vectors_of_transformers_own_tokens(published):
    folder, reference, model, backend = published
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    options = {"return_tensors": "pt", "padding": "max_length", "truncation": True}
    rows = tokenizer(list(TEXTS), max_length=model.context_length, **options).input_ids
    wanted = reference.texts(rows).numpy()

    tokens, _ = Tokenizer.load(model).encode(TEXTS)
    got = backend.embed_texts(tokens)

    assert tokens.tolist() == rows.tolist()
    assert (got * wanted).sum(axis=1).min() > 0.9999
    assert apart(wanted)


def test_pictures_have_the_vectors_of_transformers_own_pixels(published):
    folder, reference, model, backend = published
    if reference.pictures is None:
        assert model.modalities == {"text"}
        return
    said = json.loads((folder / "preprocessor_config.json").read_text())
    processor = PROCESSORS[said["image_processor_type"]](**said)
    pictures = [tiny_models.a_picture(at, *size) for at, size in enumerate(SIZES)]
    pixels = np.concatenate(
        [processor(one, return_tensors="np")["pixel_values"] for one in pictures]
    )
    wanted = reference.pictures(torch.from_numpy(pixels)).numpy()

    got = backend.embed_images(np.stack([_square(one, model) for one in pictures]))

    assert (got * wanted).sum(axis=1).min() > 0.9999
    assert apart(wanted)


def _square(picture, model):
    out = io.BytesIO()
    picture.save(out, "PNG")
    return decode_rgb(out.getvalue(), "image/png", model.preprocess)
