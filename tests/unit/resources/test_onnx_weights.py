"""Graphs without their large weights: what is an input then, where its numbers lie, what is not."""

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lumen_resources.model.onnx_graph import operators
from lumen_resources.model.onnx_weights import without_weights
from lumen_wire.varint import varint

LARGE = np.random.default_rng(0).standard_normal((200, 100)).astype(np.float32)
HALF = LARGE.astype(np.float16)[:, :90]
SMALL = np.arange(100, dtype=np.float32)
SHAPE = np.array([0, 90])


def a_graph(path, *, listed=False, **saved):
    """x [n, 200] by a large weight, plus a small one, by a half weight; its shape is one too."""
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["a"]),
        helper.make_node("Add", ["a", "small"], ["b"]),
        helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["b", "first", "last", "axis"], ["c"]),
        helper.make_node("Gemm", ["c", "wide"], ["d"], transB=1),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    arrays = {"large": LARGE, "small": SMALL, "half": HALF, "shape": SHAPE}
    arrays |= {"first": np.array([0]), "last": np.array([90]), "axis": np.array([1])}
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 200])]
    if listed:
        inputs.append(helper.make_tensor_value_info("large", TensorProto.FLOAT, [200, 100]))
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 90])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **saved)
    return path


def stored(weight):
    dtype = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}[weight.element_type]
    count = int(np.prod(weight.shape))
    content = weight.file.read_bytes()[weight.offset : weight.offset + count * dtype().itemsize]
    return np.frombuffer(content, dtype).reshape(weight.shape)


OUTSIDE = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}


@pytest.mark.parametrize("saved", [{}, OUTSIDE], ids=["in the graph", "in a file beside it"])
def test_large_weights_become_inputs_and_small_ones_stay_in_the_graph(tmp_path, saved):
    thin = without_weights(a_graph(tmp_path / "graph.onnx", **saved))

    model = onnx.load_model_from_string(thin.graph)
    onnx.checker.check_model(model)
    assert [port.name for port in model.graph.input] == ["x", "large"]
    assert set(thin.weights) == {"large"}
    assert np.array_equal(stored(thin.weights["large"]), LARGE)
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert np.array_equal(kept["small"], SMALL)
    assert np.array_equal(kept["half"], HALF)
    assert np.array_equal(kept["shape"], SHAPE)
    assert [node.op_type for node in model.graph.node][:2] == ["MatMul", "Add"]
    assert model.opset_import[0].version == 17


def test_a_weight_that_is_listed_as_an_input_is_not_listed_twice(tmp_path):
    thin = without_weights(a_graph(tmp_path / "graph.onnx", listed=True))

    model = onnx.load_model_from_string(thin.graph)
    assert [port.name for port in model.graph.input] == ["x", "large"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "../weights"),
        ("location", "/etc/passwd"),
        ("location", ""),
        ("location", "nowhere"),
        ("offset", "-1"),
        ("offset", "many"),
        ("length", "99999999"),
    ],
)
def test_weights_that_are_not_where_they_are_said_to_be_are_left_to_whoever_reads_the_graph(
    tmp_path, key, value
):
    path = a_graph(tmp_path / "graph.onnx", **OUTSIDE)
    model = onnx.load(path, load_external_data=False)
    (large,) = [tensor for tensor in model.graph.initializer if tensor.name == "large"]
    for entry in large.external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(model.SerializeToString())

    assert without_weights(path) is None


def test_what_is_damaged_or_has_no_large_weight_stays_as_it_is(tmp_path):
    whole = a_graph(tmp_path / "graph.onnx").read_bytes()
    damaged, text = tmp_path / "damaged.onnx", tmp_path / "text.onnx"
    damaged.write_bytes(whole[:50_000])
    text.write_bytes(b"no graph at all")

    assert without_weights(damaged) is None
    assert without_weights(text) is None
    assert without_weights(tmp_path / "nowhere.onnx") is None


def test_the_operators_of_a_graph_are_known_without_its_weights(tmp_path):
    path = a_graph(tmp_path / "graph.onnx")

    assert operators(path) == {"MatMul", "Add", "Cast", "Slice", "Gemm", "Reshape"}


def test_operators_in_branches_are_found(tmp_path):
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    branches = [
        helper.make_graph([helper.make_node(op, ["x"], ["y"])], op, [], [out])
        for op in ("Relu", "DynamicQuantizeLinear")
    ]
    choice = helper.make_node("If", ["c"], ["z"], then_branch=branches[0], else_branch=branches[1])
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
    ]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])]
    onnx.save(
        helper.make_model(helper.make_graph([choice], "graph", inputs, outputs)),
        tmp_path / "graph.onnx",
    )

    assert operators(tmp_path / "graph.onnx") == {"If", "Relu", "DynamicQuantizeLinear"}


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize("packed", [True, False])
def test_a_weight_of_more_edges_than_there_are_is_left_to_the_runtime_at_once(tmp_path, packed):
    # Dims as proto3 packs them, or a field each; the product of them all would take a minute.
    edge = varint(2**63 - 1)
    dims = field(1, edge * 100_000) if packed else (b"\x08" + edge) * 100_000
    path = tmp_path / "graph.onnx"
    path.write_bytes(field(7, field(5, dims + field(9, bytes(70_000)))))

    began_at = time.process_time()
    assert without_weights(path) is None
    assert time.process_time() - began_at < 5
