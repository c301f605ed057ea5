"""Adds RKNN files to the folder of a tiny model, and makes the file system of a board.

`pyproject.toml` makes this module importable as `rknn_models`.
"""

import json
from pathlib import Path

import onnx
import tiny_models
from onnx import helper
from rknn_files import RknnSpec, RknnTensor, write_rknn

ROCK_5B = "radxa,rock-5b\0rockchip,rk3588\0"


def add_rknn(
    root: Path,
    spec: tiny_models.TinyModel,
    *,
    target: str = "rk3588",
    inside: bool = True,
    says_attributes: bool = True,
    channels_last: bool = False,
) -> None:
    """Write both towers in fp16 for a chip, and record them in model_info.json.

    `inside` has the NPU normalise, `channels_last` is a graph that takes [1, S, S, 3].
    """
    side = spec.image_size
    shape = [1, side, side, 3] if channels_last else [1, 3, side, side]
    levels = [[255 * x for x in each] for each in (tiny_models.MEAN, tiny_models.STD)]
    pixels = RknnTensor("pixel_values", shape, "float32", *(levels if inside else []))
    vision = tiny_models.vision_graph(spec)
    if channels_last:
        _take_channels_last(vision, shape)
    towers = {
        "vision": (pixels, "image_embeds", vision),
        "text": (
            RknnTensor("input_ids", [1, spec.context_length], "int64"),
            "text_embeds",
            tiny_models.text_graph(spec),
        ),
    }
    for name, (takes, gives, graph) in towers.items():
        write_rknn(
            root / "rknn" / target / f"{name}.fp16.rknn",
            RknnSpec(
                [takes],
                [RknnTensor(gives, [1, spec.dim])],
                target=target,
                graph=graph.SerializeToString(),
                says_attributes=says_attributes or name == "text",
            ),
        )
    record(root, spec, target)


def _take_channels_last(graph: onnx.ModelProto, shape: list[int]) -> None:
    for node in graph.graph.node:
        node.input[:] = ["planes" if name == "pixel_values" else name for name in node.input]
    turn = helper.make_node("Transpose", ["pixel_values"], ["planes"], perm=[0, 3, 1, 2])
    graph.graph.node.insert(0, turn)
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(dims, shape, strict=True):
        dim.dim_value = length


def record(root: Path, spec: tiny_models.TinyModel, target: str) -> None:
    """Name the files in model_info.json, with the digests of all."""
    path = root / "model_info.json"
    before = json.loads(path.read_text())
    parity = before["extra_metadata"]["lumen"].get("parity")
    tiny_models.write_model_info(root, spec, before["datasets"], parity)
    info = json.loads(path.read_text())
    files = [f"rknn/{target}/{tower}.fp16.rknn" for tower in ("vision", "text")]
    info["runtimes"]["rknn"] = {"available": True, "files": {target: files}, "devices": [target]}
    path.write_text(json.dumps(info, indent=2))


def a_board(root: Path, compatible: str = ROCK_5B) -> Path:
    """Write a board's device tree under `root` and return that folder."""
    tree = root / "proc" / "device-tree"
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "compatible").write_text(compatible)
    return root


def write_immich(root: Path, spec: tiny_models.TinyModel) -> Path:
    """Write the model as Immich publishes one: no model info, a batch of one, unit vectors."""
    config = {
        "embed_dim": spec.dim,
        "vision_cfg": {"image_size": spec.image_size, "layers": 2, "width": 48, "patch_size": 4},
        "text_cfg": {"context_length": spec.context_length, "vocab_size": 600, "width": 48},
    }
    said = tiny_models.preprocess_cfg(spec)
    for tower in ("visual", "textual"):
        (root / tower).mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps(config))
    (root / "visual" / "preprocess_cfg.json").write_text(json.dumps(said))
    tiny_models.a_tokenizer().save(str(root / "textual" / "tokenizer.json"))
    (root / "textual" / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "eos_token": tiny_models.END}
        )
    )
    side = spec.image_size
    towers = {
        "visual": (
            tiny_models.vision_graph(spec),
            RknnTensor("pixel_values", [1, 3, side, side], "float32"),
            "image_embeds",
        ),
        "textual": (
            tiny_models.text_graph(spec),
            RknnTensor("input_ids", [1, spec.context_length], "int32"),
            "text_embeds",
        ),
    }
    for tower, (graph, takes, gives) in towers.items():
        onnx.save(graph, root / tower / "model.onnx")
        file = RknnSpec(
            [takes],
            [RknnTensor(gives, [1, spec.dim])],
            version="2.3.0",
            graph=graph.SerializeToString(),
        )
        write_rknn(root / tower / "rknpu" / "rk3588" / "model.rknn", file)
    return root
