"""A ViT-B/32-sized CLIP as ONNX: open_clip's real shapes and operators, seeded random weights.

What a picture costs depends on shapes and operators alone, so that this stands for the real
checkpoint in every timing; its vectors mean nothing.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import processes  # noqa: F401 - it makes the next one importable
import tiny_models
from onnx import TensorProto, helper, numpy_helper

from lumen_export.int8 import quantised

NAME = "vit-b-32-random"
DIM = 512


@dataclass(frozen=True)
class Tower:
    """The shape of one transformer."""

    width: int
    heads: int
    layers: int = 12

    @property
    def head_width(self) -> int:
        return self.width // self.heads


VISION = Tower(width=768, heads=12)
TEXT = Tower(width=512, heads=8)
SIZE, PATCH = 224, 32
CONTEXT, VOCABULARY = 77, 49408


class Graph:
    """Collects nodes and weights; `node` returns the name of what it computes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int, scale: float = 0.02) -> str:
        return self.constant(self.rng.standard_normal(shape, np.float32) * scale, np.float32)

    def norm(self, x: str, width: int) -> str:
        ones, zeros = (
            self.constant(np.ones(width), np.float32),
            self.constant(np.zeros(width), np.float32),
        )
        return self.node("LayerNormalization", x, ones, zeros, epsilon=1e-5)

    def linear(self, x: str, from_width: int, to_width: int) -> str:
        return self.node(
            "Add", self.node("MatMul", x, self.weight(from_width, to_width)), self.weight(to_width)
        )

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Div", x, self.constant(np.sqrt(2), np.float32)))
        one, half = self.constant(1, np.float32), self.constant(0.5, np.float32)
        return self.node("Mul", self.node("Mul", x, self.node("Add", erf, one)), half)

    def attention(self, x: str, tower: Tower, length: int, mask: str | None) -> str:
        def heads(value: str, permutation: list[int]) -> str:
            shape = self.constant([0, length, tower.heads, tower.head_width])
            return self.node("Transpose", self.node("Reshape", value, shape), perm=permutation)

        q = heads(self.linear(x, tower.width, tower.width), [0, 2, 1, 3])
        k = heads(self.linear(x, tower.width, tower.width), [0, 2, 3, 1])
        v = heads(self.linear(x, tower.width, tower.width), [0, 2, 1, 3])
        scale = self.constant(tower.head_width**-0.5, np.float32)
        scores = self.node("MatMul", self.node("Mul", q, scale), k)
        if mask is not None:
            scores = self.node("Add", scores, mask)
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        merged = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        flat = self.node("Reshape", merged, self.constant([0, length, tower.width]))
        return self.linear(flat, tower.width, tower.width)

    def transformer(self, x: str, tower: Tower, length: int, mask: str | None = None) -> str:
        for _ in range(tower.layers):
            attended = self.attention(self.norm(x, tower.width), tower, length, mask)
            x = self.node("Add", x, attended)
            hidden = self.gelu(self.linear(self.norm(x, tower.width), tower.width, 4 * tower.width))
            x = self.node("Add", x, self.linear(hidden, 4 * tower.width, tower.width))
        return x


def vision_graph(seed: int = 1) -> onnx.ModelProto:
    """pixel_values float32 [N, 3, 224, 224] -> image_embedding [N, 512]."""
    g, tower = Graph(seed), VISION
    patches = (SIZE // PATCH) ** 2
    grid = g.node(
        "Conv", "pixel_values", g.weight(tower.width, 3, PATCH, PATCH), strides=[PATCH, PATCH]
    )
    flat = g.node("Reshape", grid, g.constant([0, tower.width, patches]))
    tokens = g.node("Transpose", flat, perm=[0, 2, 1])
    batch = g.node("Gather", g.node("Shape", "pixel_values"), g.constant([0]), axis=0)
    shape = g.node("Concat", batch, g.constant([1, tower.width]), axis=0)
    first = g.node("Expand", g.weight(1, 1, tower.width), shape)
    x = g.node("Concat", first, tokens, axis=1)
    x = g.norm(g.node("Add", x, g.weight(1, patches + 1, tower.width)), tower.width)
    x = g.transformer(x, tower, patches + 1)
    pooled = g.norm(g.node("Gather", x, g.constant(0), axis=1), tower.width)
    out = g.node("MatMul", pooled, g.weight(tower.width, DIM))
    pixels = helper.make_tensor_value_info(
        "pixel_values", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE]
    )
    return _model(g, pixels, out, "image_embedding")


def text_graph(seed: int = 2) -> onnx.ModelProto:
    """input_ids int64 [N, 77] -> text_embedding [N, 512]."""
    g, tower = Graph(seed), TEXT
    x = g.node("Gather", g.weight(VOCABULARY, tower.width), "input_ids", axis=0)
    x = g.node("Add", x, g.weight(1, CONTEXT, tower.width))
    causal = np.triu(np.full((1, 1, CONTEXT, CONTEXT), -1e9), 1)
    x = g.transformer(x, tower, CONTEXT, g.constant(causal, np.float32))
    x = g.norm(x, tower.width)
    last = g.node("ArgMax", "input_ids", axis=1, keepdims=1)
    index = g.node(
        "Expand",
        g.node("Unsqueeze", last, g.constant([2])),
        g.constant([1, 1, tower.width]),
    )
    pooled = g.node("Squeeze", g.node("GatherElements", x, index, axis=1), g.constant([1]))
    out = g.node("MatMul", pooled, g.weight(tower.width, DIM))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", CONTEXT])
    return _model(g, ids, out, "text_embedding")


def _model(g: Graph, graph_input: Any, out: str, name: str) -> onnx.ModelProto:
    g.nodes.append(helper.make_node("Identity", [out], [name]))
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", DIM])
    graph = helper.make_graph(g.nodes, NAME, [graph_input], [output], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def eight_bits(graph: onnx.ModelProto) -> onnx.ModelProto:
    """As `lumen export --precision int8` makes it."""
    return quantised(onnx.version_converter.convert_version(graph, 18))


def write_model(cache_dir: Path, say: Callable[[str], None] = print) -> Path:
    """Write `{cache_dir}/models/vit-b-32-random` unless it is there, and return that folder."""
    root = cache_dir / "models" / NAME
    if (root / "onnx" / "text.int8.onnx").exists():
        return root
    say(f"making {NAME}: 750 MB of seeded random weights in {root}")
    (root / "onnx").mkdir(parents=True, exist_ok=True)
    for name, graph in (("vision", vision_graph()), ("text", text_graph())):
        onnx.save(graph, root / "onnx" / f"{name}.fp32.onnx")
        onnx.save(eight_bits(graph), root / "onnx" / f"{name}.int8.onnx")
    tiny_models.a_tokenizer().save(str(root / "tokenizer.json"))
    spec = tiny_models.TinyModel(
        name=NAME, dim=DIM, image_size=SIZE, context_length=CONTEXT, logit_scale=100.0
    )
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels" / "classes.json").write_text(json.dumps([f"class {i}" for i in range(100)]))
    vectors = np.random.default_rng(3).standard_normal((100, DIM), np.float32)
    np.save(root / "labels" / "classes.npy", vectors / np.linalg.norm(vectors, axis=1)[:, None])
    datasets = {"classes": {"labels": "labels/classes.json", "embeddings": "labels/classes.npy"}}
    tiny_models.write_model_info(root, spec, datasets, None)
    info = json.loads((root / "model_info.json").read_text())
    info["runtimes"]["onnx"]["files"] = [f"onnx/{p.name}" for p in (root / "onnx").iterdir()]
    (root / "model_info.json").write_text(json.dumps(info))
    return root
