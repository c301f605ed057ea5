"""Writes RKNN files as rknn-toolkit2 lays them out, around an ONNX graph instead of NPU code.

What they say of themselves is what the toolkit says (compared with its own files by
`tests/rknn`); what they hold only the double of Rockchip's runtime can compute.
`pyproject.toml` makes this module importable as `rknn_files`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HEADER = 64
# Between the second description and the graph; the toolkit has tensors there.
BODY = b"\0ONNX\0"


@dataclass(frozen=True)
class RknnTensor:
    """A tensor of the graph that was converted; mean and std in levels of 0..255."""

    name: str
    shape: Sequence[int]
    dtype: str = "float32"
    mean: Sequence[float] = ()
    std: Sequence[float] = ()


@dataclass(frozen=True)
class RknnSpec:
    """What the file says."""

    inputs: Sequence[RknnTensor]
    outputs: Sequence[RknnTensor]
    target: str = "rk3588"
    version: str = "2.3.2"
    graph: bytes = b""
    says_attributes: bool = True
    changes: dict = field(default_factory=dict)


def write_rknn(path: Path, spec: RknnSpec) -> Path:
    """Write the file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = (_attributes(spec) if spec.says_attributes else b"") + BODY + spec.graph
    text = json.dumps({**_document(spec), **spec.changes}, separators=(",", ":")).encode()
    header = b"RKNN\0\0\0\0" + (6).to_bytes(8, "little") + len(body).to_bytes(8, "little")
    path.write_bytes(header.ljust(HEADER, b"\0") + body + len(text).to_bytes(8, "little") + text)
    return path


def graph_of(content: bytes) -> bytes:
    """Return the ONNX graph that such a file holds."""
    length = int.from_bytes(content[16:24], "little")
    return content[HEADER : HEADER + length].partition(BODY)[2]


def _attributes(spec: RknnSpec) -> bytes:
    attrs = {}
    for index, each in enumerate(spec.inputs):
        attrs[each.name] = {
            "idx": index,
            "shape": [*each.shape],
            "layout": "nchw",
            "layout_ori": "nchw",
            "is_output": False,
            "range": [0, 1],
            "origin_dynamic": False,
            "dtype": each.dtype,
            "mean": [*each.mean] or [0],
            "std": [*each.std] or [1],
            "rgb2bgr": False,
        }
    for index, each in enumerate(spec.outputs):
        attrs[each.name] = {
            "is_output": True,
            "idx": index,
            "shape": [*each.shape],
            "dtype": "float32",
            "layout": "nchw",
        }
    # After the flatbuffer's own fields, as a Python dict is printed.
    return b"\0" * 480 + repr({"attrs": attrs, "quant_tab": {}, "dynamic_shapes": {}}).encode()


def _document(spec: RknnSpec) -> dict:
    tensors = [*spec.inputs, *spec.outputs]
    return {
        "connection": [],
        "const_tensor": [],
        "graph": [
            {
                "left": "input" if index < len(spec.inputs) else "output",
                "left_tensor_id": index if index < len(spec.inputs) else index - len(spec.inputs),
                "right": "norm_tensor",
                "right_tensor_id": index,
            }
            for index in range(len(tensors))
        ],
        "input_num": len(spec.inputs),
        "name": "rknn model",
        "network_platform": "ONNX",
        "norm_tensor": [
            {
                "dim_num": len(each.shape),
                "dtype": {"qnt_method": "", "qnt_type": "", "vx_type": ""},
                "size": [*each.shape],
                "tensor_id": index,
                "url": each.name,
            }
            for index, each in enumerate(tensors)
        ],
        "norm_tensor_num": len(tensors),
        "ori_network_platform": "ONNX",
        "output_num": len(spec.outputs),
        "target_platform": [spec.target],
        "version": spec.version,
        "virtual_tensor": [],
    }
