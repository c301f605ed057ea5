"""ONNX files as Immich and transformers publish them, served as they are, beside the originals."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import repositories
import tiny_models
import torch
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn
from verified_repositories import derived

from lumen_manifest.spec.enums import Accelerator
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.backends.torch.towers import open_towers
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_terms.modality import Modality

torch.set_num_threads(2)
TEXTS = ("A photo of a cat,  on the roof!", "zwei Hunde laufen über das Gras, 12 times")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
Arrays = tuple[np.ndarray, np.ndarray]


def a_png() -> bytes:
    out = io.BytesIO()
    tiny_models.a_picture(3, 300, 210).save(out, "PNG")
    return out.getvalue()


def exported(
    module: nn.Module, path: Path, inputs: Mapping[str, torch.Tensor], outputs: list[str]
) -> None:
    """Write a graph; a batch of two examples is free, of one it is fixed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(inputs.values())))
    free = None if count == 1 else tuple({0: torch.export.Dim("batch")} for _ in inputs)
    with torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=18,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=free,
            verbose=False,
        )
    program.save(str(path))


class Unit(nn.Module):
    """What Immich exports: vectors of unit length."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.inner(items), dim=-1)


class MaskedTexts(nn.Module):
    """M-CLIP as Immich exports it: numbers and their mask."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.inner.transformer(input_ids, attention_mask)[0]
        mean = (tokens * attention_mask.unsqueeze(2)).sum(dim=1)
        mean = mean / attention_mask.sum(dim=1)[:, None]
        return nn.functional.normalize(self.inner.LinearTransformation(mean), dim=-1)


class Exported(nn.Module):
    """One half of a transformers model with the outputs that its exports have."""

    def __init__(self, whole: nn.Module, half: str, projection: str) -> None:
        super().__init__()
        self.tower = getattr(whole, f"{half}_model")
        self.projection = getattr(whole, projection, None)

    def forward(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.tower(items)
        pooled = out.pooler_output
        if self.projection is None:
            return out.last_hidden_state, pooled
        return self.projection(pooled), out.last_hidden_state


def immich(source: Path, folder: Path) -> None:
    """Publish an open_clip repository as Immich does."""
    config = json.loads((source / "open_clip_config.json").read_text())
    picture = config["preprocess_cfg"]
    towers = open_towers(derived(source))
    side, length = picture["size"][0], repositories.ROWS[source.name].context
    image = {"image": torch.zeros(1, 3, side, side)}
    text = {"text": torch.ones(1, length, dtype=torch.int32)}
    exported(Unit(towers[Modality.IMAGE]), folder / "visual/model.onnx", image, ["embedding"])
    exported(Unit(towers[Modality.TEXT]), folder / "textual/model.onnx", text, ["embedding"])
    described(folder, config["model_cfg"], picture, source)


def described(folder: Path, model_cfg: Any, picture: Any, tokenizer: Path) -> None:
    (folder / "config.json").write_text(json.dumps(model_cfg))
    (folder / "visual/preprocess_cfg.json").write_text(json.dumps(picture))
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer / name, folder / "textual" / name)


def served(folder: Path) -> Arrays:
    """The vectors of the whole pipeline, from the repository alone."""
    model = derived(folder, runtime="onnx")
    backend = OnnxBackend(EngineWish(None, model.precision))
    backend.load(model, BackendSettings(Accelerator.CPU, threads=2))
    rows, _ = Tokenizer.load(model).encode(TEXTS)
    picture = decode_rgb(a_png(), "image/png", model.preprocess)
    try:
        return backend.embed_images(np.stack([picture, picture])), backend.embed_texts(rows)
    finally:
        backend.close()


def open_clips_own(source: Path, reference: repositories.Reference) -> Arrays:
    """What open_clip gives: its transform, its tokenizer and its own forward."""
    config = json.loads((source / "open_clip_config.json").read_text())
    said = {k: v for k, v in config["preprocess_cfg"].items() if k != "size"}
    size = config["preprocess_cfg"]["size"][0]
    transform = image_transform_v2(PreprocessCfg(size=size, **said), is_train=False)
    pixels = transform(Image.open(io.BytesIO(a_png())).convert("RGB"))[None]
    rows = open_clip.get_tokenizer(f"local-dir:{source}")(list(TEXTS))
    assert reference.pictures is not None
    assert reference.texts is not None
    return reference.pictures(pixels).numpy(), reference.texts(rows).numpy()


def transformers_own(source: Path, reference: repositories.Reference) -> Arrays:
    """What transformers gives: its processor, its tokenizer and its own forward."""
    row = repositories.ROWS[source.name]
    processor = transformers.AutoImageProcessor.from_pretrained(source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    picture = Image.open(io.BytesIO(a_png())).convert("RGB")
    pixels = processor(picture, return_tensors="pt").pixel_values
    rows = tokenizer(
        list(TEXTS),
        padding="max_length",
        truncation=True,
        max_length=row.context,
        return_tensors="pt",
    ).input_ids
    assert reference.pictures is not None
    assert reference.texts is not None
    return reference.pictures(pixels).numpy(), reference.texts(rows).numpy()


def assert_same(got: Arrays, own: Arrays) -> None:
    for vectors, wanted in zip(got, own, strict=True):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert (vectors * wanted).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize("name", ["dfn-squash", "siglip"])
def test_immich_s_repositories_give_open_clip_s_vectors(name, tmp_path):
    source = tmp_path / name
    reference = repositories.write(source, name)
    immich(source, tmp_path / f"{name}__immich")

    assert_same(served(tmp_path / f"{name}__immich"), open_clips_own(source, reference))


def test_immich_s_m_clip_asks_for_the_mask_of_its_own_tokenizer(tmp_path):
    words, pictures = tmp_path / "m-clip", tmp_path / "laion-vit-b-32"
    texts = repositories.write(words, "m-clip").texts
    reference = repositories.write(pictures, "laion-vit-b-32")
    folder = tmp_path / "XLM-Roberta-Tiny-Vit-B-32"
    immich(pictures, folder)
    towers = open_towers(derived(words))
    numbers = torch.ones(1, 77, dtype=torch.int32)
    mask = torch.ones_like(numbers)  # two inputs of one tensor would become one
    exported(
        MaskedTexts(towers[Modality.TEXT].inner),
        folder / "textual/model.onnx",
        {"input_ids": numbers, "attention_mask": mask},
        ["text_embedding"],
    )
    config = json.loads((folder / "config.json").read_text())
    described(folder, config, repositories.ROWS["laion-vit-b-32"].picture, words)
    tokenizer = transformers.AutoTokenizer.from_pretrained(words)

    got = served(folder)

    own, _ = open_clips_own(pictures, reference)
    rows = tokenizer(list(TEXTS), padding=True, return_tensors="pt").input_ids
    assert texts is not None
    assert_same(got, (own, texts(rows).numpy()))


@pytest.mark.parametrize(
    ("name", "projections", "outputs"),
    [
        ("transformers-clip", ("visual_projection", "text_projection"), ["embeds", "hidden"]),
        ("transformers-siglip", ("none", "none"), ["last_hidden_state", "pooler_output"]),
    ],
)
def test_transformers_exports_give_transformers_vectors(name, projections, outputs, tmp_path):
    source = tmp_path / name
    reference = repositories.write(source, name)
    row = repositories.ROWS[name]
    whole = transformers.AutoModel.from_pretrained(source, attn_implementation="eager")
    folder = tmp_path / "exports"
    pixels = {"pixel_values": torch.zeros(2, 3, row.picture["size"][0], row.picture["size"][0])}
    numbers = {"input_ids": torch.ones(2, row.context, dtype=torch.int64)}
    halves: dict[str, tuple[Mapping[str, torch.Tensor], str]] = {
        "vision": (pixels, projections[0]),
        "text": (numbers, projections[1]),
    }
    for half, (inputs, projection) in halves.items():
        path = folder / f"onnx/{half}_model.onnx"
        exported(Exported(whole, half, projection), path, inputs, outputs)
    for path in ("config.json", "preprocessor_config.json", *TOKENIZER_FILES):
        shutil.copy(source / path, folder / path)

    assert_same(served(folder), transformers_own(source, reference))
