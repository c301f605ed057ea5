"""Immich's repositories as they are: graphs for one picture, exported by torch from open_clip."""

import dataclasses
import json

import numpy as np
import open_clip
import pytest
import torch
from repositories import OPENAI, ROWS, randomised, tokenizer, tokens
from torch import nn
from trained_tokenizers import write_tokenizer
from verified_repositories import derived

from lumen_manifest.spec.enums import Accelerator, OnnxEngine
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.media.preprocess import Normaliser
from lumen_serving.startup.probe import probe

# Exporting by TorchScript is what those graphs were made with; it says at length that it is old.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")

CONTEXT, SIDE = 77, 224
CFG = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": SIDE,
        "layers": 2,
        "width": 64,
        "head_width": 32,
        "patch_size": 32,
    },
    "text_cfg": {"context_length": CONTEXT, "width": 64, "heads": 2, "layers": 2},
}


class Tower(nn.Module):
    """One tower as Immich exports it: int32 tokens, unit vectors."""

    def __init__(self, model, kind):
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, items):
        if self.kind == "visual":
            return self.model.encode_image(items, normalize=True)
        return self.model.encode_text(items.long(), normalize=True)


@pytest.fixture(scope="module", params=["TorchScript", "dynamo"])
def published(request, tmp_path_factory):
    """A repository in Immich's layout, and the model that it was exported from."""
    folder = tmp_path_factory.mktemp("immich") / "small-vit__tiny"
    text = {**CFG["text_cfg"], "vocab_size": tokenizer("clip").get_vocab_size()}
    torch.manual_seed(3)
    model = randomised(open_clip.CLIP(**{**CFG, "text_cfg": text})).requires_grad_(False)
    example = {
        "visual": torch.randn(1, 3, SIDE, SIDE),
        "textual": torch.ones(1, CONTEXT, dtype=torch.int32),
    }
    torch.backends.mha.set_fastpath_enabled(False)
    for kind, item in example.items():
        (folder / kind).mkdir(parents=True)
        torch.onnx.export(
            Tower(model, kind).eval(),
            (item,),
            folder / kind / "model.onnx",
            input_names=["image" if kind == "visual" else "text"],
            # torch's newer exporter names a look-up in the text tower so as well.
            output_names=["embedding" if request.param == "TorchScript" else "vectors"],
            opset_version=18,
            dynamo=request.param == "dynamo",
            external_data=False,
        )
    torch.backends.mha.set_fastpath_enabled(True)
    (folder / "config.json").write_text(json.dumps({**CFG, "text_cfg": text}))
    picture = {**OPENAI, "size": [SIDE, SIDE], "mode": "RGB", "fill_color": 0}
    picture |= {"interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "visual" / "preprocess_cfg.json").write_text(json.dumps(picture))
    write_tokenizer(folder / "textual", "clip")
    return folder, model


def loaded(model, engine):
    backend = OnnxBackend(EngineWish(engine, model.precision))
    backend.load(model, BackendSettings(Accelerator.CPU, threads=2))
    return backend


@pytest.mark.parametrize("engine", [None, OnnxEngine.ONNXRUNTIME])
def test_an_immich_repository_serves_open_clips_own_vectors(published, engine):
    folder, reference = published
    model = derived(folder, runtime="onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    row = dataclasses.replace(ROWS[next(iter(ROWS))], kind="clip", context=CONTEXT)
    rows = tokens(row, 5)

    backend = loaded(model, engine)

    probe(backend, model)
    pixels = torch.from_numpy(Normaliser.of(model.preprocess)(pictures))
    for got, wanted in (
        (backend.embed_images(pictures), reference.encode_image(pixels, normalize=True)),
        (backend.embed_texts(rows), reference.encode_text(torch.from_numpy(rows), normalize=True)),
    ):
        assert (got * wanted.numpy()).sum(axis=1).min() >= 0.9999
    details = backend.report().details
    opened = engine is None
    for things in ("images", "texts"):
        assert details.get(f"batch.{things}") == ("opened" if opened else None)
        assert details[f"batching.{things}"] == ("together" if opened else "one at a time")
