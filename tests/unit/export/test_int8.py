"""8-bit products with a scale for each row: what they compute, and in which company."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lumen_export.errors import ExportRefused
from lumen_export.int8 import OPSET, quantised

RNG = np.random.default_rng(0)
WIDTH, VOCABULARY = 64, 96


def a_tower(opset=OPSET, width=WIDTH):
    """Token ids [N, L] -> [N, width]: a look-up, a product, one with a bias, and the first row."""
    weights = {
        "table": RNG.normal(0, 1, (VOCABULARY, width)),
        "w1": RNG.normal(0, 0.2, (width, 2 * width)),
        "w2": RNG.normal(0, 0.2, (width, 2 * width)),
        "bias": RNG.normal(0, 1, (width,)),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], axis=0),
        helper.make_node("MatMul", ["x", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Reshape", ["active", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2", "bias"], ["out"], transB=1),
    ]
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    constants.append(numpy_helper.from_array(np.array([-1, 2 * width]), "rows"))
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", width])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model, ids):
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(None, {"ids": np.asarray(ids)})[0]


def test_vectors_stay_near_those_in_floats():
    tower, ids = a_tower(), np.arange(40)

    got, wanted = run(quantised(tower), ids), run(tower, ids)

    cosines = (got * wanted).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(wanted, axis=1)
    assert 0.9995 < cosines.min() < 1


def test_a_row_has_the_same_bytes_alone_and_in_any_company():
    small = quantised(a_tower())

    alone = np.concatenate([run(small, [n]) for n in range(12)])

    assert run(small, np.arange(12)).tobytes() == alone.tobytes()
    assert run(small, np.arange(12)[::-1])[::-1].tobytes() == alone.tobytes()


def test_products_and_tables_hold_integers_and_standard_operators():
    tower = a_tower()
    small = quantised(tower)

    onnx.checker.check_model(small, full_check=True)
    ops = [node.op_type for node in small.graph.node]
    assert ops.count("MatMulInteger") == 2
    assert {"MatMul", "Gemm"}.isdisjoint(ops)
    assert {o.domain for o in small.opset_import} == {""}
    # The scales of rows and columns weigh little beside a quarter of the weights.
    assert small.ByteSize() < 0.35 * tower.ByteSize()
    assert "w1" not in {t.name for t in small.graph.initializer}
    assert [node.op_type for node in tower.graph.node][1] == "MatMul"


def test_a_row_of_zeros_is_scaled_like_any_other():
    tower = a_tower()
    table = numpy_helper.to_array(tower.graph.initializer[0]).copy()
    table[0] = 0
    tower.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))

    got = run(quantised(tower), [0, 1])

    bias = numpy_helper.to_array(tower.graph.initializer[3])
    assert np.allclose(got[0], bias)
    assert np.isfinite(got).all()


def test_two_products_of_the_same_rows_scale_them_once():
    tower = a_tower()
    tower.graph.node.insert(2, helper.make_node("MatMul", ["x", "w1"], ["again"]))

    ops = [node.op_type for node in quantised(tower).graph.node]

    assert ops.count("MatMulInteger") == 3
    assert ops.count("ReduceMax") == 2


@pytest.mark.parametrize(
    ("tower", "found"),
    [
        (a_tower(opset=17), "of opset 17"),
        (a_tower(width=16), "no product"),
    ],
)
def test_a_graph_that_8_bits_cannot_help_is_refused_with_what_to_do(tower, found):
    with pytest.raises(ExportRefused, match=found):
        quantised(tower)
