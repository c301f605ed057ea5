"""A graph compiled for the CPU by OpenVINO, and its errors translated.

The precision that computes is asked of the compiled graph and never assumed: by itself OpenVINO
takes bfloat16 wherever the processor has it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset
from openvino.frontend import (
    FrontEndManager,
    GeneralFailure,
    InitializationFailure,
    NotImplementedFailure,
    OpConversionFailure,
    OpValidationFailure,
)

from lumen_manifest.spec.enums import Precision
from lumen_resources.model.onnx_graph import FLOAT, FLOAT16
from lumen_resources.model.onnx_weights import StoredWeight, without_weights
from lumen_serving.errors import BackendUnavailable, DeviceMismatch
from lumen_serving.graphs.openvino.free_batch import CannotBeFreed, free_batch
from lumen_serving.graphs.ports import Port, RunFailed

VERSION: str = ov.__version__.partition("-")[0]
_DEVICE = "CPU"
# Reading raises these; what compiles and runs raises a plain RuntimeError for everything.
_READING = (
    GeneralFailure,
    InitializationFailure,
    NotImplementedFailure,
    OpConversionFailure,
    OpValidationFailure,
)
_ERRORS = (*_READING, RuntimeError, ValueError, TypeError)
_COMPUTED = {ov.Type.f32: Precision.FP32, ov.Type.bf16: Precision.BF16, ov.Type.f16: Precision.FP16}
_WEIGHT_TYPES = {FLOAT: np.float32, FLOAT16: np.float16}
_HINTS = {Precision.BF16: "bf16"}


@dataclass(frozen=True, slots=True)
class OpenVinoSettings:
    """How a graph is to run: on so many threads, with matrix products in this precision."""

    threads: int
    precision: Precision = Precision.FP32


class OpenVinoSession:
    """A compiled graph; one thread at a time may run it.

    `precision` is what its matrix products are computed in, `devices` where.
    """

    def __init__(
        self, model: ov.Model, settings: OpenVinoSettings, remarks: Mapping[str, str]
    ) -> None:
        # Compiled, a port has the names of what was folded into it as well.
        self.inputs = tuple(_port(port) for port in model.inputs)
        self.outputs = tuple(_port(port) for port in model.outputs)
        compiled = ov.Core().compile_model(
            model,
            _DEVICE,
            {
                # All threads on one batch; batches come one after the other from one thread.
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": settings.threads,
                "INFERENCE_PRECISION_HINT": _HINTS.get(settings.precision, "f32"),
                # Pinned threads of several servers on one node would share the same cores, and
                # those of the decoders.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self.precision = _COMPUTED.get(compiled.get_property("INFERENCE_PRECISION_HINT"))
        self.devices: tuple[str, ...] = tuple(compiled.get_property("EXECUTION_DEVICES"))
        self.remarks = remarks
        self._request = compiled.create_infer_request()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs.

        Raises:
            RunFailed: the library's own failure, as the cause.

        """
        try:
            self._request.infer(dict(feeds), share_inputs=True)
            # The request's own memory is written again by the next batch.
            return [self._request.get_tensor(name).data.copy() for name in outputs]
        except _ERRORS as error:
            raise RunFailed("openvino failed on an input") from error


def computes_in_bf16() -> bool:
    """Whether this processor multiplies in bfloat16 (AVX512-BF16, AMX), by OpenVINO's own word."""
    return "BF16" in ov.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


def processor() -> str:
    """Return what OpenVINO calls this processor."""
    return str(ov.Core().get_property(_DEVICE, "FULL_DEVICE_NAME"))


def open_session(graph: Path, settings: OpenVinoSettings) -> OpenVinoSession:
    """Load and compile a model's graph.

    Raises:
        BackendUnavailable: the library cannot load it, or the processor lacks the precision.
        DeviceMismatch: it computes elsewhere or otherwise than was asked for.

    """
    if settings.precision is Precision.BF16 and not computes_in_bf16():
        raise BackendUnavailable(
            f"The processor of this node ({processor()}) does not compute in bf16.",
            remedy="Set spec.model.precision to fp32 or int8, or choose a pool whose nodes have "
            "AVX512-BF16 or AMX.",
        )
    try:
        session = _of_any_batch(graph, settings) or OpenVinoSession(_read(graph), settings, {})
    except _ERRORS as error:
        raise BackendUnavailable(
            f"openvino {VERSION} cannot load {graph.name}: {_said(error)}.",
            remedy="Set spec.model.engine to onnxruntime, or export the model anew.",
            file=graph.name,
        ) from error
    if session.precision is not Precision(_HINTS.get(settings.precision, "fp32")):
        raise DeviceMismatch(
            f"{settings.precision.value} was asked for, openvino computes {graph.name} in "
            f"{session.precision.value if session.precision else 'another precision'}.",
            remedy="Choose another precision, or set spec.model.engine to onnxruntime.",
            file=graph.name,
        )
    return session


def _of_any_batch(graph: Path, settings: OpenVinoSettings) -> OpenVinoSession | None:
    """Return a session whose fixed batch of one was opened; None where there is nothing to open."""
    model = _read(graph)
    if any(port.shape[:1] != (1,) for port in map(_port, model.inputs)):
        return None
    try:
        free_batch(model)
        return OpenVinoSession(model, settings, {"batch": "opened"})
    except (CannotBeFreed, *_ERRORS):
        return None


def _read(graph: Path) -> ov.Model:
    """Read ONNX and nothing else: by itself the library tries every format that it knows.

    Weights that it read itself would be held twice, as they are and packed for the processor; nor
    does it follow a link to a file beside the graph.
    """
    front = FrontEndManager().load_by_framework("onnx")
    thin = without_weights(graph)
    if thin is None:
        return front.convert(front.load(str(graph)))
    with TemporaryDirectory(prefix="lumen-graph-") as folder:
        place = Path(folder) / graph.name
        place.write_bytes(thin.graph)
        model = front.convert(front.load(str(place)))
    _fill(model, thin.weights)
    return model


def _fill(model: ov.Model, weights: Mapping[str, StoredWeight]) -> None:
    """Put constants in place of the inputs of these names, mapped from their files."""
    # "c" maps for reading; the library takes no array that cannot be written.
    files = {file: np.memmap(file, np.uint8, "c") for file in {w.file for w in weights.values()}}
    for parameter in model.get_parameters():
        weight = weights.get(parameter.friendly_name)
        if weight is None:
            continue
        dtype = np.dtype(_WEIGHT_TYPES[weight.element_type])
        length = dtype.itemsize * math.prod(weight.shape)
        content = files[weight.file][weight.offset : weight.offset + length]
        array = content.view(dtype).reshape(weight.shape)
        constant = opset.constant(array, shared_memory=True)
        constant.friendly_name = parameter.friendly_name
        for target in parameter.output(0).get_target_inputs():
            target.replace_source_output(constant.output(0))
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()


def _port(port: Any) -> Port:
    shape = tuple(edge.get_length() if edge.is_static else None for edge in port.partial_shape)
    return Port(port.any_name, _dtype(port.element_type), shape)


def _dtype(kind: ov.Type) -> type[np.generic] | None:
    try:
        dtype: type[np.generic] = np.dtype(kind.to_dtype()).type
    except _ERRORS:
        return None
    return dtype


def _said(error: Exception) -> str:
    """Return the last line that says something: those before it name the library's own sources."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300].rstrip(".")
