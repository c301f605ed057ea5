"""A vision transformer and its text tower with open_clip's operators, of tiny width."""

from pathlib import Path

import numpy as np
import onnx
import tiny_models
import vit_model
from onnx import TensorProto, helper

WIDTH, DIM, SIDE, PATCH = 64, 32, 64, 16
CONTEXT, VOCABULARY = 16, 600
TOWER = vit_model.Tower(width=WIDTH, heads=4, layers=2)


def vision(seed: int = 1) -> onnx.ModelProto:
    """pixel_values float32 [N, 3, 64, 64] -> image_embedding [N, 32]."""
    g = vit_model.Graph(seed)
    patches = (SIDE // PATCH) ** 2
    grid = g.node("Conv", "pixel_values", g.weight(WIDTH, 3, PATCH, PATCH), strides=[PATCH, PATCH])
    flat = g.node("Reshape", grid, g.constant([0, WIDTH, patches]))
    x = g.node("Add", g.node("Transpose", flat, perm=[0, 2, 1]), g.weight(1, patches, WIDTH))
    x = g.transformer(g.norm(x, WIDTH), TOWER, patches)
    pooled = g.norm(g.node("Gather", x, g.constant(0), axis=1), WIDTH)
    out = g.node("MatMul", pooled, g.weight(WIDTH, DIM))
    return _model(g, "pixel_values", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE], out)


def pooled_vision(seed: int = 3) -> onnx.ModelProto:
    """As `vision`, but what is pooled is asked for by a learned query, as SigLIP does."""
    g, heads, width = vit_model.Graph(seed), TOWER.heads, TOWER.head_width
    patches = (SIDE // PATCH) ** 2
    grid = g.node("Conv", "pixel_values", g.weight(WIDTH, 3, PATCH, PATCH), strides=[PATCH, PATCH])
    flat = g.node("Reshape", grid, g.constant([0, WIDTH, patches]))
    x = g.norm(g.node("Transpose", flat, perm=[0, 2, 1]), WIDTH)
    shape = g.constant([0, patches, heads, width])
    k, v = (
        g.node("Transpose", g.node("Reshape", g.linear(x, WIDTH, WIDTH), shape), perm=order)
        for order in ([0, 2, 3, 1], [0, 2, 1, 3])
    )
    scale = g.constant(width**-0.25, np.float32)
    query = g.node("Mul", g.weight(1, heads, 1, width, scale=1.0), scale)
    shares = g.node("Softmax", g.node("MatMul", query, g.node("Mul", k, scale)), axis=-1)
    mixed = g.node("Transpose", g.node("MatMul", shares, v), perm=[0, 2, 1, 3])
    out = g.linear(g.node("Reshape", mixed, g.constant([0, WIDTH])), WIDTH, DIM)
    return _model(g, "pixel_values", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE], out)


def text(seed: int = 2) -> onnx.ModelProto:
    """input_ids int64 [N, 16] -> [N, 32], causal, pooled at the largest id as CLIP does."""
    g = vit_model.Graph(seed)
    x = g.node("Gather", g.weight(VOCABULARY, WIDTH), "input_ids", axis=0)
    x = g.node("Add", x, g.weight(1, CONTEXT, WIDTH))
    causal = np.triu(np.full((1, 1, CONTEXT, CONTEXT), -1e4), 1)
    x = g.norm(g.transformer(x, TOWER, CONTEXT, g.constant(causal, np.float32)), WIDTH)
    last = g.node("ArgMax", "input_ids", axis=1, keepdims=1)
    index = g.node("Expand", g.node("Unsqueeze", last, g.constant([2])), g.constant([1, 1, WIDTH]))
    pooled = g.node("Squeeze", g.node("GatherElements", x, index, axis=1), g.constant([1]))
    out = g.node("MatMul", pooled, g.weight(WIDTH, DIM))
    return _model(g, "input_ids", TensorProto.INT64, ["batch", CONTEXT], out)


def _model(g, name, kind, shape, out) -> onnx.ModelProto:
    g.nodes.append(helper.make_node("Identity", [out], ["embedding"]))
    takes = helper.make_tensor_value_info(name, kind, shape)
    gives = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM])
    graph = helper.make_graph(g.nodes, "tiny-vit", [takes], [gives], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SPEC = tiny_models.TinyModel(
    image_size=SIDE, context_length=CONTEXT, dim=DIM, label_sets={}, parity=False
)


def write_model(folder: Path) -> Path:
    """Write a model's folder with both towers in ONNX and return it."""
    root = tiny_models.write_model(folder, SPEC)
    onnx.save(vision(), root / "onnx" / "vision.fp32.onnx")
    onnx.save(text(), root / "onnx" / "text.fp32.onnx")
    tiny_models.write_model_info(root, SPEC, {}, None)
    return root
