"""Write the towers as ONNX: float16 weights on disk, float32 arithmetic."""

import io
from pathlib import Path

import numpy as np
import onnx
import open_clip
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.bpe import CONTEXT_LENGTH
from training.pictures import SIZE

_OPSET = 17
# Below this a tensor is a constant of the graph, not a weight worth halving.
_SMALLEST_WEIGHT = 64


class _Vision(nn.Module):
    def __init__(self, model: open_clip.CLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(pixel_values)


class _Text(nn.Module):
    def __init__(self, model: open_clip.CLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(input_ids)


def export_towers(model: open_clip.CLIP, folder: Path) -> None:
    """Write vision.fp16.onnx and text.fp16.onnx into the folder; batches may have any size."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = torch.zeros(2, 3, SIZE, SIZE)
    ids = torch.zeros(2, CONTEXT_LENGTH, dtype=torch.int64)
    ids[:, :3] = torch.tensor([5, 6, 7])
    # The fused attention of evaluation mode has no ONNX counterpart.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        vision = _exported(_Vision(model), pixels, "pixel_values", "image_embedding")
        text = _exported(_Text(model), ids, "input_ids", "text_embedding")
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    for name, graph in (("vision", vision), ("text", text)):
        onnx.save(_with_half_weights(graph), str(folder / f"{name}.fp16.onnx"))


def _exported(
    tower: nn.Module, example: torch.Tensor, input_name: str, output_name: str
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    # The wrapper is in training mode until told otherwise, and would switch the model back.
    torch.onnx.export(
        tower.eval(),
        (example,),
        buffer,
        input_names=[input_name],
        output_names=[output_name],
        dynamic_axes={input_name: {0: "batch"}, output_name: {0: "batch"}},
        opset_version=_OPSET,
        dynamo=False,
    )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(graph)
    return graph


def _with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store each float32 weight as float16 with a Cast after it; runtimes fold the Cast at load."""
    graph = model.graph
    casts = []
    for initializer in graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < _SMALLEST_WEIGHT:
            continue
        halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            raise ValueError(f"{initializer.name} does not fit float16")
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    model.producer_name, model.doc_string = "lumen demo", ""
    onnx.checker.check_model(model)
    return model
