"""The whole way by its commands: a repository, `lumen export`, `lumen up`, and vectors."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import repositories
import tiny_models
import torch
from hub_server import HubServer
from local_runs import ENVIRONMENT
from modelscope_server import ModelScopeServer
from open_clip.transform import PreprocessCfg, image_transform_v2

NAME = "laion-vit-b-32"
MANIFEST = """
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: exported}}
spec:
  family: clip
  pool: cpu
  model:
    name: exported
    runtime: onnx
    precision: {precision}
    source: {{uri: "{uri}"}}
"""


def lumen(*words, **variables):
    return subprocess.run(
        [sys.executable, "-m", "lumen_cli", *map(str, words)],
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A repository, and the folder that `lumen export` made of it."""
    folder = tmp_path_factory.mktemp("served")
    reference = repositories.write(folder / "source", NAME)
    lumen("resources", "verify", "--write", folder / "source")
    done = lumen(
        "export", folder / "source", "--out", folder / "out", "--precision", "fp32,int8",
        "--cache-dir", folder / "cache", "--output", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, reference, done


def test_each_product_is_shown_with_its_cosines(exported):
    folder, _, done = exported
    products = json.loads(done.stdout)

    assert [(p["product"], p["engine"].split()[0]) for p in products] == [
        ("onnx fp32", "openvino"),
        ("onnx fp32", "onnxruntime"),
        ("onnx int8", "onnxruntime"),
    ]
    for product in products:
        assert 0.999 < float(product["pictures"]) <= 1
        assert 0.999 < float(product["texts"]) <= 1
        assert product["folder"] == str(folder / "out")
    assert f"spec.model.source.uri: {(folder / 'out').as_uri()}" in done.stderr
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("int8", 0.999)])
def test_the_folder_serves_the_source_s_own_vectors(exported, precision, least):
    folder, reference, _ = exported
    manifest = folder / f"{precision}.yaml"
    manifest.write_text(MANIFEST.format(precision=precision, uri=(folder / "out").as_uri()))
    picture = tiny_models.a_picture(3, 200, 120)
    picture.save(folder / "picture.png")

    done = lumen(
        "up", "-f", manifest, "--port", 0, "--state-dir", folder / precision, "--",
        sys.executable, "-m", "lumen_cli", "embed", folder / "picture.png", "--output", "json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (got,) = vectors_in(done.stdout)
    wanted = reference.pictures(transformed(picture)[None])[0].numpy()
    assert got @ wanted > least


def vectors_in(printed: str) -> list[np.ndarray]:
    """Read the JSON of `embed` where `up` prints its own lines before and after it."""
    start = 0 if printed.startswith("[") else printed.index("\n[") + 1
    rows, _ = json.JSONDecoder().raw_decode(printed, start)
    return [np.array(row["vector"]) for row in rows]


def transformed(picture) -> torch.Tensor:
    cfg = PreprocessCfg(**repositories.ROWS[NAME].picture)
    return image_transform_v2(cfg, is_train=False)(picture)


def test_a_second_export_does_not_touch_the_first(exported):
    folder, _, _ = exported

    done = lumen("export", folder / "source", "--out", folder / "out")

    assert done.returncode == 1
    assert "nothing is overwritten" in done.stderr


def test_a_hub_is_asked_as_its_own_tools_are_told(tmp_path):
    with ModelScopeServer(tmp_path / "hub") as hub:
        words = ("export", "modelscope://me/nothing", "--out", tmp_path / "out")
        done = lumen(*words, "--cache-dir", tmp_path / "cache", MODELSCOPE_DOMAIN=hub.url)

    assert done.returncode == 1
    assert "modelscope://me/nothing does not exist" in done.stderr
    assert hub.requests


# Where the hub has it, and what is typed for it.
SOURCES = {
    "hf://me/tiny-clip@v1": "me/tiny-clip",
    "me/tiny-clip": "me/tiny-clip",
    "ViT-B-32::laion2b_s34b_b79k": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
}


def as_large_as_its_name_says(row: repositories.Published) -> repositories.Published:
    """Return the row with a ViT-B-32's vectors and pictures: others are refused under its name."""
    vision = {**row.cfg["vision_cfg"], "image_size": 224}
    cfg = {**row.cfg, "embed_dim": 512, "vision_cfg": vision}
    return replace(row, cfg=cfg, picture={**row.picture, "size": [224, 224]})


@pytest.mark.parametrize("source", SOURCES)
def test_a_repository_of_a_hub_is_fetched_verified_exported_and_served(
    source, tmp_path, monkeypatch
):
    monkeypatch.setitem(repositories.ROWS, NAME, as_large_as_its_name_says(repositories.ROWS[NAME]))
    reference = repositories.write(tmp_path / "published", NAME)
    picture = tiny_models.a_picture(3, 200, 120)
    picture.save(tmp_path / "picture.png")
    with HubServer(tmp_path / "hub") as hub:
        hub.publish(f"models/{SOURCES[source]}", tmp_path / "published", "v1")
        hub_of_its_own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        words = ("export", source, "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")
        made = lumen(*words, **hub_of_its_own)
        asked = hub.asked()

    assert made.returncode == 0, made.stderr
    assert asked > 0
    manifest = tmp_path / "service.yaml"
    manifest.write_text(MANIFEST.format(precision="fp32", uri=(tmp_path / "out").as_uri()))
    served = lumen(
        "up", "-f", manifest, "--port", 0, "--state-dir", tmp_path / "state", "--",
        sys.executable, "-m", "lumen_cli", "embed", tmp_path / "picture.png", "--output", "json",
    )  # fmt: skip
    assert served.returncode == 0, served.stderr
    (got,) = vectors_in(served.stdout)
    assert got @ reference.pictures(transformed(picture)[None])[0].numpy() > 0.9999


def test_a_repository_with_a_damaged_file_is_not_exported(tmp_path):
    repositories.write(tmp_path / "published", NAME)
    with HubServer(tmp_path / "hub") as hub:
        hub.publish("models/me/tiny-clip", tmp_path / "published")
        weights = "open_clip_model.safetensors"
        content = bytearray((tmp_path / "published" / weights).read_bytes())
        content[-1] ^= 1
        hub.content.contents[hub.large("models/me/tiny-clip", weights)] = bytes(content)
        words = ("export", "hf://me/tiny-clip", "--out", tmp_path / "out")
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        done = lumen(*words, "--cache-dir", tmp_path / "cache", **variables)

    assert done.returncode == 1
    assert "open_clip_model.safetensors" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["ViT-B-32::nosuch", "NoSuch::openai", "nosuch-model"])
def test_a_name_that_stands_for_nothing_says_what_to_name(source, tmp_path):
    done = lumen("export", source, "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")

    assert done.returncode in (1, 2)
    assert source in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
