"""The ONNX backend on real graphs: vectors, batches, precisions, refusals."""

import dataclasses

import numpy as np
import onnx
import onnx.parser
import pytest
import serving_servers
import tiny_models
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from lumen_manifest.spec.enums import Accelerator, OnnxEngine, Precision
from lumen_resources.errors import ChecksumMismatchError
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.verify import ensure_unchanged, only_verified
from lumen_resources.model.lock_file import LockedFile, digest_of
from lumen_resources.progress import Progress
from lumen_serving.backends.base import BackendSettings, unit_rows
from lumen_serving.backends.graph_tower import BatchMode
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.errors import BackendUnavailable, DeviceMismatch, ParityFailed
from lumen_serving.graphs import ort
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_serving.startup.parity import check_parity

SPEC = tiny_models.TinyModel()
SIZES = (1, 2, 3, 4, 5, 8, 13)
GPU = "CUDAExecutionProvider"
ENGINES = (OnnxEngine.ONNXRUNTIME, OnnxEngine.OPENVINO)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx-backend")
    root = tiny_models.write_model(folder / "source", SPEC)
    config = serving_servers.a_config(root)
    return fetch_and_verify(config, folder / "cache", folder, Progress())


def settings_for(threads=2, accelerator=Accelerator.CPU, **changes) -> BackendSettings:
    return BackendSettings(accelerator=accelerator, threads=threads, **changes)


def loaded(model, threads=2, providers=(), engine=OnnxEngine.ONNXRUNTIME, **changes) -> OnnxBackend:
    backend = OnnxBackend(EngineWish(engine, model.precision, providers))
    backend.load(model, settings_for(threads, **changes))
    return backend


def with_vision(model, path, precision=Precision.FP32):
    files = dataclasses.replace(model.files, vision=path)
    return dataclasses.replace(
        model, files=files, precision=precision, proofs={**model.proofs, path: proof(path)}
    )


def proof(path) -> LockedFile:
    found = digest_of(path)
    return LockedFile(size=found.size, sha256=found.sha256)


def noise(count: int) -> np.ndarray:
    side = SPEC.image_size
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def tokens(count: int) -> np.ndarray:
    return np.random.default_rng(4).integers(1, 400, (count, SPEC.context_length), dtype=np.int64)


def assert_same_bytes_in_any_batch(embed, items) -> None:
    alone = b"".join(embed(items[row : row + 1]).tobytes() for row in range(len(items)))
    for size in SIZES:
        assert embed(items[:size]).tobytes() == alone[: size * SPEC.dim * 4]


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_get_the_vectors_of_open_clips_own_steps(model, engine):
    pictures = [tiny_models.a_picture(i, 90, 60) for i in range(4)]
    payloads = [tiny_models.encoded(picture, "PNG") for picture in pictures]
    squares = np.stack([decode_rgb(p, "image/png", model.preprocess) for p in payloads])

    got = loaded(model, engine=engine).embed_images(squares)

    assert got.dtype == np.float32
    assert np.allclose(got, tiny_models.image_vectors(model.root, pictures, SPEC), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_texts_get_the_vectors_of_the_plain_graph(model, engine):
    texts = ["a photo of a cat", "the DOG of  the sea", "!"]
    rows, _ = Tokenizer.load(model).encode(texts)

    got = loaded(model, engine=engine).embed_texts(rows)

    wanted = tiny_models.text_vectors(model.root, [t.lower() for t in texts])
    assert np.allclose(got, wanted, atol=1e-6)
    assert np.linalg.norm(got, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_item_has_the_same_bytes_alone_and_in_any_batch(model, threads, engine):
    backend = loaded(model, threads, engine=engine)

    assert_same_bytes_in_any_batch(backend.embed_images, noise(13))
    assert_same_bytes_in_any_batch(backend.embed_texts, tokens(13))
    assert backend.report().details["batching.images"] == "together"


LAYER = """
  n{i} = LayerNormalization (x{i}, scale, bias)
  q{i}a = MatMul (n{i}, wq)   q{i}b = Reshape (q{i}a, split)   q{i} = Transpose <perm=[0,2,1,3]> (q{i}b)
  k{i}a = MatMul (n{i}, wk)   k{i}b = Reshape (k{i}a, split)   k{i} = Transpose <perm=[0,2,3,1]> (k{i}b)
  v{i}a = MatMul (n{i}, wv)   v{i}b = Reshape (v{i}a, split)   v{i} = Transpose <perm=[0,2,1,3]> (v{i}b)
  s{i} = MatMul (q{i}, k{i})  a{i} = Softmax <axis=-1> (s{i})  m{i}a = MatMul (a{i}, v{i})
  m{i}b = Transpose <perm=[0,2,1,3]> (m{i}a)                   m{i} = Reshape (m{i}b, flat)
  g{i}a = Gemm <transB=1> (m{i}, wo, bias)                     g{i} = Reshape (g{i}a, unflat)
  y{i} = Add (x{i}, g{i})                                      z{i} = LayerNormalization (y{i}, scale, bias)
  f{i}a = MatMul (z{i}, w1)   f{i}b = Tanh (f{i}a)             f{i} = MatMul (f{i}b, w2)
  x{next} = Add (y{i}, f{i})
"""  # noqa: E501


def an_attention_graph(width=96, heads=4, patch=8) -> onnx.ModelProto:
    """A small ViT's kinds of product: patches, packed attention, MLP, pooling, projection."""
    rng, side, count = np.random.default_rng(2), SPEC.image_size, (SPEC.image_size // patch) ** 2
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        attention (float[n,3,{side},{side}] pixel_values) => (float[n,{SPEC.dim}] image_embeds) {{
          p = Conv <strides=[{patch},{patch}]> (pixel_values, patches)
          r = Reshape (p, rows)
          x0 = Transpose <perm=[0,2,1]> (r)
          {LAYER.format(i=0, next=1)}{LAYER.format(i=1, next=2)}
          pooled = Gather <axis=1> (x2, first)
          normed = LayerNormalization (pooled, scale, bias)
          image_embeds = MatMul (normed, head)
        }}"""
    )
    shapes = {
        "patches": (width, 3, patch, patch),
        "w1": (width, 4 * width),
        "w2": (4 * width, width),
    }
    shapes |= dict.fromkeys(("wq", "wk", "wv", "wo"), (width, width))
    shapes |= {"scale": (width,), "bias": (width,), "head": (width, SPEC.dim)}
    arrays = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in shapes.items()
    }
    places = {"rows": (0, width, count), "split": (0, count, heads, width // heads)}
    places |= {"flat": (-1, width), "unflat": (-1, count, width)}
    arrays |= {name: np.array(place) for name, place in places.items()} | {"first": np.array(0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in arrays.items()
    )
    return model


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_pooled_rows_of_a_transformer_have_the_same_bytes_in_any_batch(
    model, tmp_path, threads, engine
):
    onnx.save(an_attention_graph(), tmp_path / "vit.onnx")

    backend = loaded(with_vision(model, tmp_path / "vit.onnx"), threads, engine=engine)

    assert_same_bytes_in_any_batch(backend.embed_images, noise(13))


def test_a_dynamically_quantised_graph_runs_one_at_a_time_and_so_stays_invariant(model, tmp_path):
    path = tmp_path / "vision.int8.onnx"
    quantize_dynamic(
        model.files.vision, path, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8
    )
    session = ort.open_session(path, ort.SessionSettings(threads=1))
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    pixels[0] *= 0.01
    (both,) = session.run([session.outputs[0].name], {"pixel_values": pixels})
    (alone,) = session.run([session.outputs[0].name], {"pixel_values": pixels[:1]})
    # Why it must: its scale is that of the whole batch.
    assert both[0].tobytes() != alone[0].tobytes()

    backend = loaded(with_vision(model, path, Precision.INT8))

    assert backend.report().details["batching.images"] == "one at a time"
    assert_same_bytes_in_any_batch(backend.embed_images, noise(13))


def test_a_graph_whose_items_see_each_other_is_found_out_when_it_is_loaded(model, tmp_path):
    graph = onnx.load(model.files.vision)
    last = graph.graph.node[-1]
    last.output[0] = "own"
    graph.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["own"], ["others"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["own", "others"], ["image_embeds0"]),
            helper.make_node("Add", ["own", "image_embeds0"], ["image_embeds"]),
        ]
    )
    onnx.save(graph, tmp_path / "neighbours.onnx")

    backend = loaded(with_vision(model, tmp_path / "neighbours.onnx"))

    assert backend.report().details["batching.images"] == BatchMode.SINGLY
    assert_same_bytes_in_any_batch(backend.embed_images, noise(13))


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "whole graph"])
def test_half_precision_files_agree_and_are_reported_as_computed_in_fp32(model, tmp_path, whole):
    graph = onnx.load(model.files.vision)
    casts = []
    for tensor in graph.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name if whole else f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    if whole:
        for port in (*graph.graph.input, *graph.graph.output):
            port.type.tensor_type.elem_type = TensorProto.FLOAT16
    else:
        nodes = [*casts, *graph.graph.node]
        del graph.graph.node[:]
        graph.graph.node.extend(nodes)
    onnx.save(graph, tmp_path / "vision.fp16.onnx")
    reference = loaded(model).embed_images(noise(13))

    backend = loaded(with_vision(model, tmp_path / "vision.fp16.onnx", Precision.FP16))

    assert (backend.embed_images(noise(13)) * reference).sum(axis=1).min() > 0.999
    assert backend.report().precision == "fp32"
    assert_same_bytes_in_any_batch(backend.embed_images, noise(13))


def test_a_graph_with_a_fixed_batch_of_one_is_served_all_the_same(model, tmp_path):
    graph = onnx.load(model.files.vision)
    for port in (*graph.graph.input, *graph.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(graph, tmp_path / "one.onnx")

    got = loaded(with_vision(model, tmp_path / "one.onnx")).embed_images(noise(5))

    assert got.tobytes() == loaded(model).embed_images(noise(5)).tobytes()


def test_no_items_give_no_rows(model):
    assert loaded(model).embed_images(noise(0)).shape == (0, SPEC.dim)


def test_a_zero_vector_becomes_visibly_not_finite():
    assert not np.isfinite(unit_rows(np.zeros((1, 4), np.float32))).any()


def with_outside_weights(model, folder):
    """The same vision graph, its weights in a file beside it; both are proven."""
    path = folder / "vision.onnx"
    onnx.save(
        onnx.load(model.files.vision),
        path,
        save_as_external_data=True,
        location="vision.onnx.data",
        size_threshold=0,
    )
    data = path.with_name("vision.onnx.data")
    there = with_vision(model, path)
    files = dataclasses.replace(there.files, external_data=(data,))
    return dataclasses.replace(there, files=files, proofs={**there.proofs, data: proof(data)})


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_beside_a_graph_are_loaded_with_it(model, tmp_path, engine):
    outside = loaded(with_outside_weights(model, tmp_path), engine=engine)

    wanted = loaded(model, engine=engine).embed_images(noise(2))
    assert (outside.embed_images(noise(2)) == wanted).all()
    assert outside.report().runtime == engine


def test_a_file_that_was_only_touched_is_loaded(model, tmp_path):
    touched = with_outside_weights(model, tmp_path)
    touched.files.external_data[0].touch()

    ensure_unchanged(touched)
    loaded(touched)


def test_the_folder_that_is_loaded_from_holds_the_verified_files_and_nothing_else(model, tmp_path):
    there = with_outside_weights(model, tmp_path)
    (tmp_path / "beside.bin").write_bytes(b"not verified")

    with only_verified(there, (there.files.vision, *there.files.external_data)) as folder:
        names = sorted(path.name for path in folder.iterdir())
        contents = [(folder / name).read_bytes() for name in names]

    assert names == ["vision.onnx", "vision.onnx.data"]
    assert contents == [(tmp_path / name).read_bytes() for name in names]
    assert not folder.exists()


def damaged(model, folder):
    path = folder / "vision.onnx"
    path.write_bytes(model.files.vision.read_bytes()[:20_000])
    return with_vision(model, path)


def swapped(model, folder):
    there = with_outside_weights(model, folder)
    (weights,) = there.files.external_data
    weights.write_bytes(bytes(weights.stat().st_size))
    return there


def reaching_beside_it(model, folder):
    there = with_outside_weights(model, folder)
    return dataclasses.replace(there, files=dataclasses.replace(there.files, external_data=()))


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (damaged, {}, BackendUnavailable, r"cannot load vision\.onnx"),
        (swapped, {}, ChecksumMismatchError, r"vision\.onnx\.data is not the file"),
        (reaching_beside_it, {}, BackendUnavailable, r"cannot load vision\.onnx"),
        ({"proofs": {}}, {}, ChecksumMismatchError, None),
        ({"embedding_dim": 33}, {}, BackendUnavailable, r"an output \[N, 33\]"),
        ({}, {"accelerator": Accelerator.CUDA}, BackendUnavailable, "Install onnxruntime-gpu"),
        ({}, {"accelerator": Accelerator.RK3588}, DeviceMismatch, "rk3588"),
        ({}, {"providers": (GPU, "CPUExecutionProvider")}, DeviceMismatch, GPU),
    ],
)
def test_what_cannot_be_served_as_it_was_verified_and_asked_for_is_refused(
    model, tmp_path, change, options, error, words
):
    changed = dataclasses.replace(model, **change) if isinstance(change, dict) else None

    with pytest.raises(error, match=words):
        loaded(changed or change(model, tmp_path), **options)


@pytest.mark.parametrize("replaced", [True, False], ids=["another file", "other bytes in it"])
def test_what_changes_while_it_is_loaded_is_found_out_and_another_file_not_read(
    model, tmp_path, replaced
):
    there = with_outside_weights(model, tmp_path)
    (data,) = there.files.external_data
    good, other = data.read_bytes(), tmp_path / "other"
    other.write_bytes(bytes(len(good)))
    read = []

    def load() -> None:
        with only_verified(there, (data,)) as folder:
            if replaced:
                other.replace(data)
            else:
                with data.open("r+b") as writer:
                    writer.write(b"evil")
            read.append((folder / data.name).read_bytes())

    with pytest.raises(ChecksumMismatchError, match="is not the file that was verified"):
        load()

    assert (read == [good]) is replaced
    with pytest.raises(ChecksumMismatchError):
        ensure_unchanged(there)


def test_parity_is_checked_on_pictures_and_texts(model):
    assert check_parity(loaded(model), model, Tokenizer.load(model)) > 0.999999


def test_a_model_without_a_golden_set_has_no_parity(model):
    assert check_parity(loaded(model), dataclasses.replace(model, parity=None), None) is None


def test_wrong_preprocessing_is_found_by_parity(model):
    wrong = dataclasses.replace(
        model, preprocess=dataclasses.replace(model.preprocess, mean=(0.0, 0.0, 0.0))
    )

    with pytest.raises(ParityFailed, match=r"\.png has cosine 0\."):
        check_parity(loaded(wrong), wrong, Tokenizer.load(model))


def test_a_parity_set_of_another_shape_is_refused(model, tmp_path):
    np.save(tmp_path / "short.npy", np.ones((2, SPEC.dim), np.float32))
    parity = dataclasses.replace(model.parity, vectors=tmp_path / "short.npy")

    with pytest.raises(ParityFailed, match="parity set cannot be used"):
        check_parity(loaded(model), dataclasses.replace(model, parity=parity), None)


def test_what_a_graph_calls_its_nodes_reaches_no_terminal(tmp_path, capfd):
    forged = '\x1b]0;title\x07\n{"event": "forged"}\n'
    huge = numpy_helper.from_array(np.array([10**6, 10**6], np.int64), f"{forged}size")
    unused = numpy_helper.from_array(np.zeros(1, np.float32), f"{forged}unused")
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", [huge.name], ["ones"], name=f"{forged}node"),
            helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
            helper.make_node("Add", ["items", "sum"], ["out"]),
        ],
        forged,
        [helper.make_tensor_value_info("items", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 4])],
        initializer=[huge, unused],
    )
    path = tmp_path / "vision.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())

    session = ort.open_session(path, ort.SessionSettings(threads=1))
    with pytest.raises(ort.RunFailed) as failed:
        session.run(["out"], {"items": np.zeros((1, 4), np.float32)})

    assert "title" in str(failed.value.__cause__)
    assert tuple(capfd.readouterr()) == ("", "")
