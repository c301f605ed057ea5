"""Which engine runs a model's ONNX files, what it computes in, and what is refused."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import serving_servers
import tiny_models
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from lumen_export.int8 import quantised
from lumen_manifest.spec.enums import Accelerator, OnnxEngine, Precision
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.model.lock_file import LockedFile, digest_of
from lumen_resources.progress import Progress
from lumen_serving.backends import onnx_engines
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.errors import BackendUnavailable, DeviceMismatch
from lumen_serving.graphs.openvino import session as openvino

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
    files = dataclasses.replace(model.files, **{"vision": path, **changes})
    return with_proof(dataclasses.replace(model, files=files), path)


def with_proof(model, path):
    found = digest_of(path)
    proofs = {**model.proofs, path: LockedFile(size=found.size, sha256=found.sha256)}
    return dataclasses.replace(model, proofs=proofs)


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


def a_graph_for_one_picture(path, mixing=False, width=96, heads=4):
    """A transformer as exports without dynamic axes write it: the one picture is in its shapes.

    As torch does it, positions come first, heads are merged with the batch, and the class token
    is a constant. `mixing` lets items see each other, which shapes do not show.
    """
    count, head, side = 17, width // heads, SPEC.image_size
    mixed = (
        "m = ReduceMean <axes=[1], keepdims=1> (z) y = Add (z, m)" if mixing else "y = Add (z, z)"
    )
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        one (float[1,3,{side},{side}] image) => (float[1,{SPEC.dim}] embedding) {{
          p = Conv <strides=[8,8]> (image, patches)
          r = Reshape (p, rows)
          t = Transpose <perm=[0,2,1]> (r)
          c = Concat <axis=1> (token, t)
          x = Transpose <perm=[1,0,2]> (c)
          qa = MatMul (x, wq)  qb = Reshape (qa, merged)  qc = Transpose <perm=[1,0,2]> (qb)
          ka = MatMul (x, wk)  kb = Reshape (ka, merged)  kc = Transpose <perm=[1,0,2]> (kb)
          va = MatMul (x, wv)  vb = Reshape (va, merged)  vc = Transpose <perm=[1,0,2]> (vb)
          q = Reshape (qc, apart)  k = Reshape (kc, apart)  v = Reshape (vc, apart)
          kt = Transpose <perm=[0,1,3,2]> (k)
          s = MatMul (q, kt)  a = Softmax <axis=-1> (s)  o = MatMul (a, v)
          oa = Transpose <perm=[2,0,1,3]> (o)
          ob = Reshape (oa, flat)  g = Gemm <transB=1> (ob, wo)  z = Reshape (g, unflat)
          {mixed if mixing else "y = Add (z, z)"}
          b = Transpose <perm=[1,0,2]> (y)
          pooled = Gather <axis=1> (b, first)
          embedding = MatMul (pooled, head)
        }}"""
    )
    rng = np.random.default_rng(2)
    shapes = {"patches": (width, 3, 8, 8), "token": (1, 1, width), "head": (width, SPEC.dim)}
    shapes |= dict.fromkeys(("wq", "wk", "wv", "wo"), (width, width))
    arrays = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in shapes.items()
    }
    arrays |= {
        "rows": np.array([1, width, -1]),
        "merged": np.array([count, heads, head]),
        "apart": np.array([1, heads, count, head]),
        "flat": np.array([count, width]),
        "unflat": np.array([count, 1, width]),
        "first": np.array(0),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in arrays.items()
    )
    onnx.save(model, path)
    return path


def test_a_graph_for_one_picture_takes_batches_once_openvino_has_opened_it(model, tmp_path):
    one = with_graph(model, a_graph_for_one_picture(tmp_path / "one.onnx"))
    singly = loaded(one, OnnxEngine.ONNXRUNTIME)

    backend = loaded(one)

    details = backend.report().details
    assert (details["batch.images"], details["batching.images"]) == ("opened", "together")
    assert singly.report().details["batching.images"] == "one at a time"
    got = backend.embed_images(pictures())
    assert cosines(got, singly.embed_images(pictures())).min() >= 0.99999
    alone = np.concatenate([backend.embed_images(picture[None]) for picture in pictures()])
    assert got.tobytes() == alone.tobytes()


def test_a_graph_for_one_picture_that_would_mix_a_batch_is_found_out_and_runs_singly(
    model, tmp_path
):
    one = with_graph(model, a_graph_for_one_picture(tmp_path / "one.onnx", mixing=True))

    backend = loaded(one, OnnxEngine.OPENVINO)

    details = backend.report().details
    assert (details["batch.images"], details["batching.images"]) == ("opened", "one at a time")
    wanted = loaded(one, OnnxEngine.ONNXRUNTIME).embed_images(pictures())
    assert cosines(backend.embed_images(pictures()), wanted).min() >= 0.99999


def a_perceptron():
    """Three products over the whole picture, the first two worth 8 bits."""
    side = SPEC.image_size
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]>
        dense (float[n,3,{side},{side}] pixel_values) => (float[n,{SPEC.dim}] image_embeds) {{
          f = Flatten (pixel_values)
          a = MatMul (f, w1)  b = Tanh (a)  c = MatMul (b, w2)  d = Tanh (c)
          image_embeds = MatMul (d, head)
        }}"""
    )
    rng = np.random.default_rng(2)
    for name, shape in (("w1", (3 * side * side, 96)), ("w2", (96, 96)), ("head", (96, SPEC.dim))):
        weights = (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    return model


@pytest.mark.parametrize("beside", [False, True], ids=["in the graph", "in a file beside it"])
def test_openvino_maps_large_weights_from_their_files(model, tmp_path, beside):
    path, data = tmp_path / "vision.onnx", tmp_path / "vision.onnx.data"
    onnx.save(a_perceptron(), path, save_as_external_data=beside, location=data.name)
    there = with_graph(model, path, external_data=(data,) if beside else ())
    if beside:
        there = with_proof(there, data)
    wanted = loaded(there, OnnxEngine.ONNXRUNTIME).embed_images(pictures())

    backend = loaded(there, OnnxEngine.OPENVINO)

    assert cosines(backend.embed_images(pictures()), wanted).min() >= 0.99999
    mapped = Path("/proc/self/maps").read_text()
    assert str(data if beside else path) in mapped


@pytest.mark.parametrize("engine", [None, OnnxEngine.ONNXRUNTIME, OnnxEngine.OPENVINO])
def test_int8_with_a_scale_for_each_row_runs_in_batches_with_the_same_bytes(
    model, tmp_path, engine
):
    wide, narrow = tmp_path / "vision.onnx", tmp_path / "vision.int8.onnx"
    onnx.save(a_perceptron(), wide)
    onnx.save(quantised(a_perceptron()), narrow)
    wanted = loaded(with_graph(model, wide), OnnxEngine.ONNXRUNTIME).embed_images(pictures())

    backend = loaded(with_graph(model, narrow), engine, Precision.INT8)

    report = backend.report()
    assert (report.precision, report.details["batching.images"]) == ("int8", "together")
    assert report.runtime == (engine or OnnxEngine.ONNXRUNTIME)
    got = backend.embed_images(pictures())
    assert cosines(got, wanted).min() >= 0.999
    alone = np.concatenate([backend.embed_images(picture[None]) for picture in pictures()])
    for size in SIZES:
        assert backend.embed_images(pictures(size)).tobytes() == alone[:size].tobytes()
    twice = report.runtime == OnnxEngine.ONNXRUNTIME
    assert backend.slots == (2 if twice else 1)
    assert ("atOnce.images" in report.details) == twice
    with ThreadPoolExecutor(backend.slots) as slots:
        at_once = slots.map(lambda _: backend.embed_images(pictures()).tobytes(), range(8))
        assert set(at_once) == {alone.tobytes()}


def rewired(model, path, change):
    """The tiny vision graph with other ports; `change` edits it in place."""
    graph = onnx.load(model.files.vision)
    change(graph.graph)
    onnx.save(graph, path)
    return with_graph(model, path)


def put_before(graph, nodes, arrays, port):
    """Let the graph begin with these nodes, from `port` to pixel_values."""
    for i, node in enumerate(nodes):
        graph.node.insert(i, node)
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    graph.input[0].CopyFrom(port)


def taking_bytes(graph, *, channels_last):
    side = SPEC.image_size
    mean = np.array(tiny_models.MEAN, np.float32).reshape(1, 3, 1, 1)
    std = np.array(tiny_models.STD, np.float32).reshape(1, 3, 1, 1)
    axes = [0, 3, 1, 2] if channels_last else [0, 1, 2, 3]
    nodes = [
        helper.make_node("Transpose", ["picture"], ["planes"], perm=axes),
        helper.make_node("Cast", ["planes"], ["levels"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["bright"]),
        helper.make_node("Sub", ["bright", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["pixel_values"]),
    ]
    shape = ["n", side, side, 3] if channels_last else ["n", 3, side, side]
    port = helper.make_tensor_value_info("picture", onnx.TensorProto.UINT8, shape)
    put_before(graph, nodes, {"mean": mean, "std": std, "white": np.float32([255])}, port)


def with_channels_last(graph):
    side = SPEC.image_size
    nodes = [helper.make_node("Transpose", ["picture"], ["pixel_values"], perm=[0, 3, 1, 2])]
    port = helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, ["n", side, side, 3])
    put_before(graph, nodes, {}, port)


def with_tokens_and_another_pooling(graph):
    """Two more outputs before the vector: one of its shape, one of three dimensions."""
    other = helper.make_node("Neg", ["image_embeds"], ["other"])
    rows = helper.make_node("Unsqueeze", ["image_embeds", "one"], ["last_hidden_state"])
    graph.node.extend([other, rows])
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    kind, dim = onnx.TensorProto.FLOAT, SPEC.dim
    graph.output.insert(0, helper.make_tensor_value_info("other", kind, ["n", dim]))
    graph.output.insert(0, helper.make_tensor_value_info("last_hidden_state", kind, ["n", 1, dim]))


@pytest.mark.parametrize("engine", [OnnxEngine.ONNXRUNTIME, OnnxEngine.OPENVINO])
@pytest.mark.parametrize(
    "change",
    [
        lambda graph: taking_bytes(graph, channels_last=True),
        lambda graph: taking_bytes(graph, channels_last=False),
        with_channels_last,
        with_tokens_and_another_pooling,
    ],
    ids=["bytes, channels last", "bytes", "channels last", "more outputs"],
)
def test_pictures_go_in_and_vectors_come_out_as_the_graph_has_them(model, tmp_path, change, engine):
    wanted = loaded(model, OnnxEngine.ONNXRUNTIME).embed_images(pictures())

    got = loaded(rewired(model, tmp_path / "other.onnx", change), engine).embed_images(pictures())

    assert cosines(got, wanted).min() >= 0.99999


def a_text_graph(path, model, kind, more):
    """The tiny text graph with ids of a type, and a mask that weighs the tokens from outside."""
    graph = onnx.load(model.files.text)
    ids = graph.graph.input[0]
    ids.type.tensor_type.elem_type = kind
    if more:
        graph.graph.node[3].input[0] = "attention_mask"
        for name in ("attention_mask", "token_type_ids"):
            port = onnx.ValueInfoProto()
            port.CopyFrom(ids)
            port.name = name
            graph.graph.input.append(port)
        kept = helper.make_node("Cast", ["token_type_ids"], ["types"], to=onnx.TensorProto.FLOAT)
        summed = helper.make_node("ReduceSum", ["types", "middle"], ["any"], keepdims=1)
        last = graph.graph.node[-1]
        wanted, last.output[0] = last.output[0], "own"
        graph.graph.node.extend([kept, summed, helper.make_node("Add", ["own", "any"], [wanted])])
    onnx.save(graph, path)
    return path


@pytest.mark.parametrize("engine", [OnnxEngine.ONNXRUNTIME, OnnxEngine.OPENVINO])
@pytest.mark.parametrize("more", [False, True], ids=["ids", "ids, mask and types"])
@pytest.mark.parametrize("kind", [onnx.TensorProto.INT32, onnx.TensorProto.INT64])
def test_texts_go_in_as_the_graph_takes_them(model, tmp_path, kind, more, engine):
    items = tokens()
    items[:, 9:] = 0
    path = a_text_graph(tmp_path / "text.onnx", model, kind, more)
    wanted = loaded(model, OnnxEngine.ONNXRUNTIME).embed_texts(items)

    got = loaded(with_graph(model, path, vision=model.files.vision, text=path), engine)

    assert cosines(got.embed_texts(items), wanted).min() >= 0.99999


class SessionOfAGpu(onnxruntime.InferenceSession):
    """Takes what a session takes, computes on the CPU, and says that it has what was asked for."""

    asked: ClassVar[list] = []

    def __init__(
        self, path_or_bytes, sess_options=None, providers=None, provider_options=None, **kwargs
    ):
        self.asked.append((providers, sess_options))
        super().__init__(path_or_bytes, providers=["CPUExecutionProvider"])

    def get_providers(self):
        providers, _ = self.asked[-1]
        return [one if isinstance(one, str) else one[0] for one in providers]


@pytest.mark.parametrize(
    ("precision", "half"), [(Precision.FP32, "false"), (Precision.FP16, "true")]
)
def test_tensorrt_is_asked_for_with_cuda_beside_it_and_the_cpu_never(
    model, monkeypatch, precision, half
):
    here = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
    monkeypatch.setattr(onnxruntime, "InferenceSession", SessionOfAGpu)
    monkeypatch.setattr(SessionOfAGpu, "asked", [])

    report = loaded(model, OnnxEngine.TENSORRT, precision, Accelerator.CUDA).report()

    assert (report.runtime, report.device, report.precision) == ("tensorrt", "cuda", precision)
    assert report.providers == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    for providers, options in SessionOfAGpu.asked:
        first, second = providers
        assert first == ("TensorrtExecutionProvider", {"trt_fp16_enable": half})
        assert second == "CUDAExecutionProvider"
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
