"""Towers on torch become ONNX graphs: a free batch dimension, constants folded, one opset.

Opset 18 is what ONNX Runtime, OpenVINO, TensorRT and RKNN's converter all read.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript  # noqa: F401 - torch imports it at the first export: its lack is said before
from numpy.typing import NDArray

from lumen_export.errors import ExportRefused
from lumen_export.int8 import OPSET, quantised
from lumen_serving.backends.torch.library import TORCH, TorchTower, bytes_of
from lumen_terms.modality import Modality

# A protobuf message holds 2 GiB at most; what is not weights is small beside.
APART_FROM_BYTES = 2**31 - 2**26
_PORTS = {
    Modality.IMAGE: ("pixel_values", "image_embedding"),
    Modality.TEXT: ("input_ids", "text_embedding"),
}
# One item would be taken for a fixed batch.
_EXAMPLES = 2
_AT_ONCE = 8
_NOISY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")


@dataclass(frozen=True, slots=True)
class InputSize:
    """What a tower takes: pictures of `side` pixels, texts of `length` tokens."""

    side: int
    length: int

    def example(self, modality: Modality) -> Any:
        """Return a small batch to follow through the tower, float32 or int64."""
        if modality is Modality.IMAGE:
            return TORCH.zeros(_EXAMPLES, 3, self.side, self.side)
        rows = TORCH.zeros(_EXAMPLES, self.length, dtype=TORCH.int64)
        rows[:, : min(3, self.length)] = 2
        return rows


def write_graph(tower: TorchTower, modality: Modality, size: InputSize, path: Path) -> None:
    """Write the tower as an ONNX file, in the precision of its weights.

    Pictures come as [N, 3, S, S] in that precision, normalised; texts as int64 [N, L]; what
    leaves are vectors [N, dim], not of unit length. Weights above 2 GiB lie in `path`.data.
    Raises ExportRefused when the tower cannot be followed.
    """
    taken, given = _PORTS[modality]
    example = size.example(modality)
    if modality is Modality.IMAGE:
        example = example.to(next(tower.parameters()).dtype)
    apart = bytes_of(tower) > APART_FROM_BYTES
    try:
        with _quiet(), TORCH.no_grad():
            program = TORCH.onnx.export(
                tower,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[taken],
                output_names=[given],
                dynamic_shapes=({0: TORCH.export.Dim("batch")},),
                optimize=True,
                verbose=False,
            )
            program.save(str(path), external_data=apart)
    # Whatever a model does in Python can fail here: the exporter has no list of it.
    except Exception as error:
        raise ExportRefused(
            f"torch cannot follow the tower for {modality.value}s into a graph: "
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}.",
            remedy="Serve this model with runtime torch.",
        ) from error


def embed(tower: TorchTower, items: NDArray[Any]) -> NDArray[np.float32]:
    """Return the unit vectors [N, dim] of a tower for normalised pictures or token rows."""
    with TORCH.inference_mode():
        batches = [items[n : n + _AT_ONCE] for n in range(0, len(items), _AT_ONCE)]
        rows = [tower(TORCH.from_numpy(batch)).double() for batch in batches]
        vectors: NDArray[np.float32] = (
            TORCH.nn.functional.normalize(TORCH.cat(rows)).float().numpy()
        )
    return vectors


def write_int8(source: Path, path: Path) -> None:
    """Write the 8-bit graph of an fp32 one; raises ExportRefused when it has none."""
    graph = quantised(onnx.load(source))
    apart = graph.ByteSize() > APART_FROM_BYTES
    onnx.save(graph, path, save_as_external_data=apart, location=f"{path.name}.data")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to its own developers from the user's terminal.

    Attention is followed operator by operator: its fused form has no counterpart in ONNX.
    """
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    fused = TORCH.backends.mha.get_fastpath_enabled()
    TORCH.backends.mha.set_fastpath_enabled(False)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        TORCH.backends.mha.set_fastpath_enabled(fused)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
