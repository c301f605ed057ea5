"""The golden set that a verified start on torch records beside the lock, and whom it judges."""

import json
import shutil

import numpy as np
import onnx
import pytest
import repositories
import structlog
from safetensors.torch import load_file, save_file

from lumen_export.run import ExportPlan, export
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Precision
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.recording import record
from lumen_resources.progress import Progress
from lumen_serving.errors import ParityFailed
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.load import warm_up

NAME = "laion-vit-b-32"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A repository with a checkpoint, and graphs of it as a stranger would add them: no info."""
    folder = tmp_path_factory.mktemp("published")
    repositories.write(folder / "source", NAME)
    made = folder / "made"
    shutil.copytree(folder / "source", made)
    record(made, Progress())
    model = fetch_and_verify(config_of(made, "torch"), folder / "cache", made, Progress())
    export(model, ExportPlan((Precision.FP32,), folder / "out"), Progress())
    (folder / "source" / "onnx").mkdir()
    for tower in ("vision", "text"):
        name = f"onnx/{tower}.fp32.onnx"
        shutil.copy(folder / "out" / name, folder / "source" / name)
    record(folder / "source", Progress())
    return folder / "source"


@pytest.fixture
def root(published, tmp_path):
    return shutil.copytree(published, tmp_path / "source")


def config_of(root, runtime, **model):
    spec = {"name": NAME, "runtime": runtime, "source": {"uri": root.as_uri()}, **model}
    return ServerConfig.model_validate({"service": "x", "family": "clip", "model": spec})


def started(root, runtime, **model):
    cache = root.parent / "cache"
    config = config_of(root, runtime, **model)
    fetch_and_verify(config, cache, root, Progress())
    env = {"LUMEN_CACHE_DIR": str(cache), "LUMEN_SOURCE_DIR": str(root)}
    warm = warm_up(config, ServerSettings.from_environment(env))
    warm.backend.close()
    return warm


def kept(root):
    """The folders of recorded sets."""
    return sorted((root.parent / "cache").glob("**/golden/*"))


def test_the_first_start_on_torch_records_and_later_ones_are_compared(root):
    before = sorted(p for p in root.rglob("*"))

    first, second = started(root, "torch"), started(root, "torch")
    by_graphs = started(root, "onnx")

    assert first.parity_cosine is None
    assert second.parity_cosine > 0.999999
    assert by_graphs.parity_cosine > 0.9999
    (folder,) = kept(root)
    assert folder.parents[1].name == ".lumen"
    assert sorted(p for p in root.rglob("*")) == before
    reference = json.loads((folder / "golden.json").read_text())["parity"]["reference"]
    assert reference["by"].startswith("torch ")
    assert reference["by"].endswith("fp32 on cpu")


def test_graphs_of_other_weights_are_refused_by_it(root):
    started(root, "torch")
    path = root / "onnx/vision.fp32.onnx"
    graph = onnx.load(path)
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 2:
            values = onnx.numpy_helper.to_array(tensor)[::-1].copy()
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(graph, path)
    record(root, Progress())

    with pytest.raises(ParityFailed) as refused:
        started(root, "onnx")

    assert "(torch " in refused.value.message
    assert str(kept(root)[0]) in refused.value.remedy


def test_another_checkpoint_is_not_judged_by_it_and_records_its_own(root, tmp_path):
    started(root, "torch")
    weights = "open_clip_model.safetensors"
    tensors = load_file(root / weights)
    tensors["visual.proj"] = tensors["visual.proj"].flip(0).contiguous()
    save_file(tensors, root / weights)
    record(root, Progress())

    changed, again = started(root, "torch"), started(root, "torch")

    assert changed.parity_cosine is None
    assert again.parity_cosine > 0.999999


def test_what_is_damaged_is_recorded_anew(root):
    started(root, "torch")
    vectors = kept(root)[0] / "parity/vectors.npy"
    np.save(vectors, np.roll(np.load(vectors), 1, axis=0))

    damaged, again = started(root, "torch"), started(root, "torch")

    assert damaged.parity_cosine is None
    assert again.parity_cosine > 0.999999


def test_reduced_precision_records_nothing_and_is_compared(root):
    assert started(root, "torch", precision="bf16").parity_cosine is None
    assert kept(root) == []

    started(root, "torch")

    assert started(root, "torch", precision="bf16").parity_cosine > 0.999


def test_where_nothing_may_be_written_the_log_says_so_and_it_serves(root, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lumen_resources.fetch.golden_set.write_durably", refuse)
    with structlog.testing.capture_logs() as said:
        warm = started(root, "torch")

    assert warm.parity_cosine is None
    assert any("no golden set recorded" in line["event"] for line in said)
    assert kept(root) == [] or not list(kept(root)[0].glob("**/*.json"))
