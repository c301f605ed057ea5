"""Folders in other people's layouts: recorded once, then they serve like any other."""

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from local_runs import Lumen
from model_sources import a_config
from published_models import BPE, CLIP_TOKENS, open_clip_config, tokens
from tiny_models import MEAN, STD, TinyModel, a_jpeg, write_model

from lumen_cli.resources import command as resources
from lumen_client import Client, ClientError
from lumen_manifest.spec.enums import Tower
from lumen_resources.errors import ModelInfoError, ResourceValidationError, TokenizerError
from lumen_resources.fetch.fetch import fetch_and_verify, open_verified
from lumen_resources.model.layouts import Cleaning, ScoreRule, TextRule, VerifiedModel
from lumen_resources.progress import Progress
from lumen_terms.modality import Modality

TEXT_CFG = BPE | {"context_length": 24}
SQUASH = {
    "size": [32, 32],
    "mode": "RGB",
    "mean": list(MEAN),
    "std": list(STD),
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def lay_out(root: Path, documents: Mapping[str, Any], graphs: tuple[str, str] | None) -> Path:
    """Write the files of one layout around a tiny model's two graphs (vision, text)."""
    tiny = write_model(root.parent / "tiny", TinyModel(label_sets={}, parity=False))
    for path, document in documents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        text = document if isinstance(document, str) else json.dumps(document)
        (root / path).write_text(text)
    folder = "textual" if graphs and graphs[1].startswith("textual") else ""
    (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny / "tokenizer.json", root / folder)
    for path, tower in zip(graphs or (), ("vision", "text"), strict=False):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny / f"onnx/{tower}.fp32.onnx", root / path)
    return root


def immich(root: Path, text_cfg: Mapping[str, Any] = TEXT_CFG, **model: Any) -> Path:
    config = open_clip_config(32, text_cfg, None, 32, **model)["model_cfg"]
    documents = {
        "config.json": config,
        "README.md": "---\nlicense: other\nlicense_name: apple-amlr\n---\n",
        "textual/tokenizer_config.json": CLIP_TOKENS,
        "visual/preprocess_cfg.json": SQUASH,
    }
    return lay_out(root, documents, ("visual/model.onnx", "textual/model.onnx"))


def record(root: Path) -> str:
    result = CliRunner().invoke(resources, ["verify", "--write", str(root)])
    assert result.exit_code == 0, result.output
    return result.stderr


def verified(
    root: Path, runtime: str = "onnx", *towers: str, family: str = "clip"
) -> VerifiedModel:
    spec = {"name": "published", "runtime": runtime, "source": {"uri": f"file://{root}"}}
    model_spec = spec | ({"towers": towers} if towers else {})
    config = a_config(None, family=family, model=model_spec)
    cache = root.parent / "cache"
    model = fetch_and_verify(config, cache, root, Progress())
    again = open_verified(config, cache, root)
    assert (again.text, again.score) == (model.text, model.score)
    assert again.embedding_space == model.embedding_space
    return model


def test_a_repository_of_immich_serves_as_it_is(tmp_path):
    root = immich(tmp_path / "ViT-B-32__openai")

    said = record(root)
    model = verified(root)

    assert "squash, bilinear" in said
    assert model.files.vision == root / "visual/model.onnx"
    assert (model.preprocess.resize_mode, model.preprocess.interpolation) == ("squash", "bilinear")
    assert model.text == TextRule(24)
    assert model.info.metadata is not None
    assert model.info.metadata.license == "apple-amlr"


def test_one_tower_needs_its_own_files_alone_and_shares_the_embedding_space(tmp_path):
    root = immich(tmp_path / "immich")
    record(root)
    both = verified(root)
    (root / "textual/model.onnx").unlink()
    (root / "textual/tokenizer.json").unlink()

    pictures = verified(root, "onnx", Tower.VISION)

    assert pictures.modalities == {Modality.IMAGE}
    assert (pictures.files.text, pictures.files.tokenizer) == (None, None)
    assert pictures.embedding_space == both.embedding_space
    assert pictures.warnings == ()


def test_lumen_up_serves_one_tower_of_a_published_folder(tmp_path):
    root = immich(tmp_path / "ViT-Tiny__immich")
    record(root)
    (root / "textual/model.onnx").unlink()
    (tmp_path / "service.yaml").write_text(
        f"""
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: clip}}
spec:
  family: clip
  model:
    name: published
    runtime: onnx
    towers: [vision]
    source: {{uri: "file://{root}"}}
  pool: cpu
"""
    )
    command = ("up", "-f", "service.yaml", "--port", "0", "--state-dir", str(tmp_path / "state"))

    with Lumen(*command, cwd=tmp_path) as run, Client(f"grpc://{run.until_up()}") as client:
        (vector,) = client.encode([a_jpeg()])
        with pytest.raises(ClientError):
            client.encode(["a text"])

    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_graphs_that_nothing_describes_are_measured(tmp_path):
    root = lay_out(tmp_path / "older", {}, ("visual.onnx", "textual.onnx"))

    said = record(root)
    model = verified(root)

    assert "CLIP's values for what they do not say" in said
    assert (model.embedding_dim, model.preprocess.size, model.text) == (32, 32, TextRule(24))


def test_a_tokenizer_of_another_kind_is_followed_as_its_files_say(tmp_path):
    text = {
        **TEXT_CFG,
        "hf_tokenizer_name": "owner/kind",
        "tokenizer_kwargs": {"clean": "canonicalize", "strip_sep_token": True},
    }
    root = immich(tmp_path / "other", text)
    settings = tokens("c", 999, "Unknown", sep_token="d")
    del settings["added_tokens_decoder"]
    (root / "textual/tokenizer_config.json").write_text(json.dumps(settings))
    record(root)

    model = verified(root)

    pad = model.text.pad_id
    assert model.text == TextRule(24, Cleaning.CANONICALIZE, "own", pad, strip_sep=True)
    assert pad != 999
    # What tokenizer_config.json says later must still be what is done.
    (root / "textual/tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "d"}))
    record(root)
    with pytest.raises(TokenizerError, match="pad_token 'd'"):
        verified(root)


def a_safetensors(path: Path, dtype: str = "F32", **scalars: float) -> None:
    """A file of scalars, and one matrix before them."""
    pack = {"F32": "<f", "F16": "<e", "BF16": "<f"}[dtype]
    blocks = {"matrix": (b"\0" * 64, [4, 4])}
    for name, value in scalars.items():
        content = struct.pack(pack, value)
        blocks[name] = (content[2:] if dtype == "BF16" else content, [])
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (content, shape) in blocks.items():
        kind = "F32" if name == "matrix" else dtype
        header[name] = {
            "dtype": kind,
            "shape": shape,
            "data_offsets": [at, at + len(content)],
        }
        at += len(content)
    written = json.dumps(header).encode()
    body = b"".join(content for content, _ in blocks.values())
    path.write_bytes(len(written).to_bytes(8, "little") + written + body)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_scale_and_bias_are_read_from_the_weights(tmp_path, dtype):
    config = open_clip_config(32, TEXT_CFG, SQUASH, 32, init_logit_bias=-10)
    root = lay_out(tmp_path / "siglip", {"open_clip_config.json": config}, None)
    weights = root / "open_clip_model.safetensors"
    a_safetensors(weights, dtype, logit_scale=math.log(112.0), logit_bias=-12.5)
    record(root)

    score = verified(root, "torch", family="siglip").score

    assert score.kind == "sigmoid"
    assert score.scale == pytest.approx(112.0, rel=4e-2)
    assert score.bias == pytest.approx(-12.5, rel=1e-2)
    a_safetensors(weights, dtype, logit_scale=80.0, logit_bias=-12.5)
    record(root)
    with pytest.raises(ResourceValidationError, match="which no trained model has"):
        verified(root, "torch", family="siglip")


def test_a_sigmoid_without_its_bias_gives_shares_and_says_so(tmp_path):
    root = immich(tmp_path / "siglip", init_logit_bias=-10)
    record(root)

    model = verified(root, family="siglip")

    assert model.score == ScoreRule("softmax", 100.0)
    assert "scores are shares" in model.warnings[0]
    info = json.loads((root / "model_info.json").read_text())
    info["extra_metadata"]["lumen"]["score"] |= {"scale": 117.0, "bias": -12.9}
    (root / "model_info.json").write_text(json.dumps(info))
    assert verified(root, family="siglip").score == ScoreRule("sigmoid", 117.0, -12.9)


def test_a_folder_of_no_known_kind_is_refused_and_left_as_it_was(tmp_path):
    root = lay_out(tmp_path / "blip", {"config.json": {"model_type": "blip"}}, None)
    a_safetensors(root / "model.safetensors")
    before = sorted(root.iterdir())

    result = CliRunner().invoke(resources, ["verify", "--write", str(root)])

    assert result.exit_code == 1
    assert "a captioner: take a CLIP or SigLIP" in result.stderr
    assert sorted(root.iterdir()) == before
    with pytest.raises(ModelInfoError, match=r"model_info\.json is not there"):
        verified(root)
