"""Which engine runs a model's ONNX files, what it computes in, and what is refused."""

import dataclasses

import numpy as np
import onnx
import pytest
import serving_servers
import tiny_models
from onnx import helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from lumen_manifest.spec.enums import Accelerator, OnnxEngine, Precision
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.model.lock_file import LockedFile, digest_of
from lumen_resources.progress import Progress
from lumen_serving.backends import onnx_engines
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.errors import BackendUnavailable, DeviceMismatch
from lumen_serving.graphs import openvino

SPEC = tiny_models.TinyModel()
SIZES = (1, 2, 3, 4, 5, 8)
BF16 = pytest.mark.skipif(not openvino.computes_in_bf16(), reason="no bf16 on this processor")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx-engines")
    root = tiny_models.write_model(folder / "source", SPEC)
    config = serving_servers.a_config(root)
    return fetch_and_verify(config, folder / "cache", folder, Progress())


def loaded(model, engine=None, precision=Precision.FP32, accelerator=Accelerator.CPU, providers=()):
    model = dataclasses.replace(model, precision=precision)
    backend = OnnxBackend(EngineWish(engine, precision, providers))
    backend.load(model, BackendSettings(accelerator, threads=2))
    return backend


def with_graph(model, path, **changes):
    found = digest_of(path)
    proofs = {**model.proofs, path: LockedFile(size=found.size, sha256=found.sha256)}
    files = dataclasses.replace(model.files, **{"vision": path, **changes})
    return dataclasses.replace(model, files=files, proofs=proofs)


def pictures(count=8):
    side = SPEC.image_size
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def tokens(count=8):
    return np.random.default_rng(4).integers(1, 400, (count, SPEC.context_length), dtype=np.int64)


def cosines(a, b):
    return (a.astype(np.float64) * b).sum(axis=1)


def test_openvino_is_the_default_on_a_cpu_and_the_report_says_so(model):
    report = loaded(model).report()

    assert (report.runtime, report.version) == ("openvino", openvino.VERSION)
    assert (report.device, report.precision, report.providers) == ("cpu", "fp32", ("CPU",))
    assert report.details["engine"] == "the fastest on CPUs"


def test_without_its_package_onnx_runtime_serves(model, monkeypatch):
    monkeypatch.setattr(onnx_engines, "_installed", lambda package: False)

    report = loaded(model).report()

    assert report.runtime == "onnxruntime"
    assert report.details["engine"] == "openvino is not installed"


def test_providers_that_are_named_are_onnx_runtimes(model):
    report = loaded(model, providers=("CPUExecutionProvider",)).report()

    assert report.runtime == "onnxruntime"
    assert report.providers == ("CPUExecutionProvider",)


def test_a_graph_of_integer_products_stays_with_onnx_runtime(model, tmp_path):
    path = tmp_path / "vision.int8.onnx"
    quantize_dynamic(
        model.files.vision, path, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8
    )

    report = loaded(with_graph(model, path), precision=Precision.INT8).report()

    assert report.runtime == "onnxruntime"
    assert report.details["engine"] == "faster with integer products"


def a_graph_only_onnx_runtime_runs(model, path):
    """It ends in an operator of onnx.ml, which openvino does not know."""
    graph = onnx.load(model.files.vision)
    last = graph.graph.node[-1]
    scale = helper.make_node(
        "Scaler", ["own"], [*last.output], domain="ai.onnx.ml", scale=[2.0], offset=[0.0]
    )
    last.output[0] = "own"
    graph.graph.node.append(scale)
    graph.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(graph, path)
    return with_graph(model, path)


def test_what_openvino_cannot_load_stays_with_onnx_runtime_unless_openvino_was_asked_for(
    model, tmp_path
):
    only_ort = a_graph_only_onnx_runtime_runs(model, tmp_path / "vision.onnx")

    report = loaded(only_ort).report()

    assert report.runtime == "onnxruntime"
    assert report.details["engine"].startswith("openvino cannot: ")
    with pytest.raises(BackendUnavailable, match=r"openvino .* cannot load vision\.onnx"):
        loaded(only_ort, OnnxEngine.OPENVINO)


@pytest.mark.parametrize(
    ("precision", "least"),
    [(Precision.FP32, 0.99999), pytest.param(Precision.BF16, 0.999, marks=BF16)],
)
def test_openvino_gives_onnx_runtimes_vectors(model, precision, least):
    reference = loaded(model, OnnxEngine.ONNXRUNTIME)

    backend = loaded(model, OnnxEngine.OPENVINO, precision)

    assert backend.report().precision == precision.value
    for name, items in (("embed_images", pictures()), ("embed_texts", tokens())):
        got = getattr(backend, name)(items)
        assert cosines(got, getattr(reference, name)(items)).min() >= least
        alone = np.concatenate([getattr(backend, name)(items[i : i + 1]) for i in range(8)])
        for size in SIZES:
            assert getattr(backend, name)(items[:size]).tobytes() == alone[:size].tobytes()


@BF16
def test_bf16_computes_otherwise_than_fp32(model):
    wide = loaded(model, OnnxEngine.OPENVINO).embed_images(pictures())

    assert (loaded(model, precision=Precision.BF16).embed_images(pictures()) != wide).any()


def test_bf16_is_refused_where_the_processor_lacks_it(model, monkeypatch):
    monkeypatch.setattr(openvino, "computes_in_bf16", lambda: False)

    with pytest.raises(BackendUnavailable, match="precision to fp32 or int8") as refused:
        loaded(model, OnnxEngine.OPENVINO, Precision.BF16)

    assert openvino.processor() in refused.value.message


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (
            {"engine": OnnxEngine.ONNXRUNTIME, "precision": Precision.BF16},
            BackendUnavailable,
            "engine to openvino",
        ),
        (
            {"engine": OnnxEngine.OPENVINO, "accelerator": Accelerator.CUDA},
            DeviceMismatch,
            "openvino runs on cpu",
        ),
        ({"engine": OnnxEngine.TENSORRT}, DeviceMismatch, "tensorrt runs on cuda"),
        (
            {"engine": OnnxEngine.TENSORRT, "accelerator": Accelerator.CUDA},
            BackendUnavailable,
            "TensorrtExecutionProvider is not in the installed onnxruntime",
        ),
    ],
)
def test_an_engine_that_cannot_do_what_was_asked_is_refused_and_not_replaced(
    model, asked, error, words
):
    with pytest.raises(error, match=words):
        loaded(model, **asked)


def test_a_damaged_graph_is_refused_by_openvino_with_its_name(model, tmp_path, capfd):
    path = tmp_path / "vision.onnx"
    path.write_bytes(model.files.vision.read_bytes()[:20_000])

    with pytest.raises(BackendUnavailable, match=r"cannot load vision\.onnx: "):
        loaded(with_graph(model, path), OnnxEngine.OPENVINO)

    assert tuple(capfd.readouterr()) == ("", "")
