"""Writes 8-bit arithmetic into an ONNX graph, with a scale for each token of its own.

ONNX Runtime's own dynamic quantisation takes one scale over the whole batch, so that a picture's
vector depends on its neighbours. Here each row of a product is scaled by its own largest value; the
products are sums of integers, which come out the same in any order. Weights have a scale per
column. Only standard operators are used, and no picture is needed to calibrate by.

A row x and a column w give  sum(x * w) = sx * sw * sum(qx * qw),  with  qx = round(x / sx),
sx = max|x| / 127, and likewise for w.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lumen_export.errors import ExportRefused

# ReduceMax takes its axes as an input from here on.
OPSET = 18
# Of a smaller matrix the product costs less than what scaling its rows does.
_SMALLEST_SIDE = 64
_LARGEST = 127
# Unsigned rows against signed weights: what CPUs have instructions for. 0 lies at 128.
_ZERO = 128
# A row of zeros has a scale all the same.
_SMALLEST_SCALE = 1e-12


@dataclass(frozen=True, slots=True)
class _Product:
    """A product with constant weights [K, N] in the graph; `bias` is the name of its [N]."""

    node: onnx.NodeProto
    weights: str
    transposed: bool
    bias: str = ""


@dataclass(slots=True)
class _Rewriter:
    """Collects the new graph; `rows` holds what is already scaled: name -> (integers, scales)."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    columns: dict[tuple[str, bool], tuple[str, str]] = field(default_factory=dict)

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def scaled_rows(self, x: str) -> tuple[str, str]:
        """Return the names of x's integers, uint8 of x's shape, and of its scales [..., 1]."""
        if x in self.rows:
            return self.rows[x]
        last = self.constant("int8.last_axis", np.array([-1], np.int64))
        least = self.constant("int8.least", np.float32(_SMALLEST_SCALE))
        largest = self.constant("int8.largest", np.float32(_LARGEST))
        per_level = self.constant("int8.per_level", np.float32(1 / _LARGEST))
        zero = self.constant("int8.zero_as_float", np.float32(_ZERO))
        size = self.node("Abs", [x], f"{x}.size")
        most = self.node("ReduceMax", [size, last], f"{x}.most", keepdims=1)
        most = self.node("Max", [most, least], f"{x}.bounded")
        levels = self.node("Div", [largest, most], f"{x}.levels")
        scaled = self.node("Mul", [x, levels], f"{x}.scaled")
        rounded = self.node("Round", [scaled], f"{x}.rounded")
        shifted = self.node("Add", [rounded, zero], f"{x}.shifted")
        integers = self.node("Cast", [shifted], f"{x}.integers", to=TensorProto.UINT8)
        scale = self.node("Mul", [most, per_level], f"{x}.scale")
        self.rows[x] = integers, scale
        return self.rows[x]

    def scaled_columns(self, product: _Product, weights: NDArray[np.float32]) -> tuple[str, str]:
        """Return the names of the weights' integers, int8 [K, N], and of their scales [N]."""
        key = product.weights, product.transposed
        if key not in self.columns:
            # Weights that two products read in two orientations are two constants.
            name = f"{product.weights}{'.T' if product.transposed else ''}"
            integers, scale = _levels(weights.T if product.transposed else weights, axis=0)
            self.columns[key] = (
                self.constant(f"{name}.integers", integers),
                self.constant(f"{name}.scale", scale),
            )
        return self.columns[key]

    def product(self, product: _Product, weights: NDArray[np.float32]) -> None:
        """Put the product of integers in place of `product.node`, whose output keeps its name."""
        (out,) = product.node.output
        integers, scale = self.scaled_rows(product.node.input[0])
        columns, column_scale = self.scaled_columns(product, weights)
        zero = self.constant("int8.zero", np.uint8(_ZERO))
        sums = self.node("MatMulInteger", [integers, columns, zero], f"{out}.sums")
        floats = self.node("Cast", [sums], f"{out}.floats", to=TensorProto.FLOAT)
        by_row = self.node("Mul", [floats, scale], f"{out}.by_row")
        if not product.bias:
            self.node("Mul", [by_row, column_scale], out)
            return
        by_column = self.node("Mul", [by_row, column_scale], f"{out}.by_column")
        self.node("Add", [by_column, product.bias], out)

    def look_up(self, node: onnx.NodeProto, table: NDArray[np.float32]) -> None:
        """Put a table of integers, each row with its scale, in place of one of floats."""
        name, indices = node.input
        (out,) = node.output
        integers, scale = _levels(table, axis=1)
        at = self.constant(f"{name}.integers", integers)
        scales = self.constant(f"{name}.scale", scale[:, None])
        rows = self.node("Gather", [at, indices], f"{out}.rows", axis=0)
        floats = self.node("Cast", [rows], f"{out}.floats", to=TensorProto.FLOAT)
        by = self.node("Gather", [scales, indices], f"{out}.scales", axis=0)
        self.node("Mul", [floats, by], out)


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its matrix products in 8 bits; `model` itself is left as it is.

    Raises ExportRefused when it has no such product, or is of an older opset than 18.
    """
    versions = {opset.domain: opset.version for opset in model.opset_import}
    if versions.get("", 0) < OPSET:
        raise ExportRefused(
            f"The graph is of opset {versions.get('', 0)}; int8 is written into {OPSET} and later.",
            remedy="Export it anew.",
        )
    floats = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
    }
    products = {product.node.output[0]: product for product in _products(model.graph, floats)}
    if not products:
        raise ExportRefused(
            "The graph has no product of a matrix that is worth 8 bits.",
            remedy="Leave int8 out of --precision for this model.",
        )
    return _rewritten(model, floats, products)


def _rewritten(
    model: onnx.ModelProto,
    floats: Mapping[str, onnx.TensorProto],
    products: Mapping[str, _Product],
) -> onnx.ModelProto:
    rewriter = _Rewriter()
    for node in model.graph.node:
        if node.output[0] in products:
            product = products[node.output[0]]
            rewriter.product(product, numpy_helper.to_array(floats[product.weights]))
        elif _is_look_up(node, floats):
            rewriter.look_up(node, numpy_helper.to_array(floats[node.input[0]]))
        else:
            rewriter.nodes.append(node)
    used = {name for node in rewriter.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(
        rewriter.nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [*kept, *rewriter.constants.values()],
    )
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="lumen"
    )


def _products(graph: onnx.GraphProto, floats: Mapping[str, onnx.TensorProto]) -> Iterator[_Product]:
    for node in graph.node:
        if len(node.input) < 2 or node.input[1] not in floats:
            continue
        if min(floats[node.input[1]].dims) < _SMALLEST_SIDE:
            continue
        if node.op_type == "MatMul":
            yield _Product(node, node.input[1], transposed=False)
        if node.op_type == "Gemm":
            said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if not said.get("transA", 0) and said.get("alpha", 1) == said.get("beta", 1) == 1:
                bias = node.input[2] if len(node.input) > 2 else ""
                yield _Product(node, node.input[1], bool(said.get("transB", 0)), bias)


def _is_look_up(node: onnx.NodeProto, floats: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a node takes rows out of a table, as a vocabulary's vectors are."""
    if node.op_type != "Gather" or node.input[0] not in floats:
        return False
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return axis == 0 and min(floats[node.input[0]].dims) >= _SMALLEST_SIDE


def _levels(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 of the same shape and float32 scales, one for each vector along `axis`."""
    most = np.maximum(np.abs(values).max(axis=axis, keepdims=True), _SMALLEST_SCALE)
    scale = (most / _LARGEST).astype(np.float32)
    return np.round(values / scale).astype(np.int8), scale.squeeze(axis)
