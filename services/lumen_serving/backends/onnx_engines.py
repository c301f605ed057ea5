"""Which engine runs a model's ONNX files: the one that was asked for, or the fastest that can.

An engine that was asked for is used or refused, never replaced. Without one, what was chosen and
why is part of the report.
"""

import importlib
import importlib.util
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Protocol

from lumen_manifest.spec.enums import Accelerator, OnnxEngine, Precision
from lumen_resources.errors import ResourceValidationError
from lumen_resources.model.onnx_graph import operators
from lumen_serving.backends.base import BackendSettings
from lumen_serving.errors import BackendUnavailable, DeviceMismatch
from lumen_serving.graphs import ort
from lumen_serving.graphs.ports import GraphSession

# Quantises with one scale over the whole input, and so over the batch.
_BATCH_SCALED = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
# Batches that may run beside each other, where a graph is loaded for that.
AT_ONCE = 2
# Products of integers, which OpenVINO takes apart: five times slower than ONNX Runtime.
_INTEGER_PRODUCTS = {*_BATCH_SCALED, "MatMulInteger", "ConvInteger"}


@dataclass(frozen=True, slots=True)
class EngineWish:
    """What decides the engine: what was asked for, and what must be computed.

    `engine` is None where nobody named one. `providers` are ONNX Runtime's own names, which only
    older settings have.
    """

    engine: OnnxEngine | None
    precision: Precision
    providers: tuple[str, ...] = ()
    inter_op_threads: int = 1


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine, and in a few words why it is this one."""

    engine: OnnxEngine
    reason: str


class GraphEngine(Protocol):
    """A library that loads graphs, as it is set up for one device."""

    name: OnnxEngine
    version: str
    providers: tuple[str, ...]

    def open(self, graph: Path) -> GraphSession:
        """Load a graph; raises StartError."""
        ...

    def open_half(self, graph: Path) -> GraphSession | None:
        """Load it once more for two batches at once, each on half of the threads.

        None where that gains too little for holding the weights twice.
        """
        ...

    def computes(self, precision: Precision) -> Precision:
        """Return what files of this precision are computed in."""
        ...


def choose_engine(
    wish: EngineWish, accelerator: Accelerator, graphs: Iterable[Path]
) -> EngineChoice:
    """Return the engine for this model on this device.

    Raises:
        DeviceMismatch: the engine that was asked for does not run on this device.

    """
    cpu = accelerator is Accelerator.CPU
    if wish.engine is not None:
        _refuse_wrong_device(wish.engine, accelerator)
        return EngineChoice(wish.engine, "spec.model.engine")
    if not cpu:
        return EngineChoice(OnnxEngine.ONNXRUNTIME, f"the engine for {accelerator.value}")
    if wish.providers:
        return EngineChoice(OnnxEngine.ONNXRUNTIME, "its providers are named")
    if not _installed("openvino"):
        return EngineChoice(OnnxEngine.ONNXRUNTIME, "openvino is not installed")
    if any(_uses(graph, _INTEGER_PRODUCTS) for graph in graphs):
        return EngineChoice(OnnxEngine.ONNXRUNTIME, "faster with integer products")
    return EngineChoice(OnnxEngine.OPENVINO, "the fastest on CPUs")


def open_engine(name: OnnxEngine, wish: EngineWish, settings: BackendSettings) -> GraphEngine:
    """Return the engine, ready to load graphs.

    Raises:
        BackendUnavailable: its package is missing, or it does not compute in this precision.
        DeviceMismatch: it does not run on this device.

    """
    return _ENGINES[name](wish, settings)


class OnnxRuntimeEngine:
    """ONNX Runtime with the provider of the device, without a fall-back."""

    name = OnnxEngine.ONNXRUNTIME
    version = ort.VERSION

    def __init__(self, wish: EngineWish, settings: BackendSettings) -> None:
        if wish.precision is Precision.BF16:
            raise BackendUnavailable(
                "ONNX Runtime does not compute fp32 files in bf16.",
                remedy="Set spec.model.engine to openvino (CPUs with AVX512-BF16 or AMX), or "
                "spec.model.precision to fp32, fp16 or int8.",
            )
        self.providers = ort.choose_providers(settings.accelerator, wish.providers)
        self._settings = ort.SessionSettings(
            threads=settings.threads,
            inter_op_threads=wish.inter_op_threads,
            providers=self.providers,
            device_memory_mib=settings.device_memory_mib,
            half=wish.precision is Precision.FP16,
        )
        self._in_8_bits = wish.precision is Precision.INT8

    def open(self, graph: Path) -> ort.Session:
        """Load a graph; raises StartError."""
        return ort.open_session(graph, self._settings)

    def open_half(self, graph: Path) -> ort.Session | None:
        """In 8 bits on a CPU two batches on half of the threads each are a fifth quicker.

        What is not a product of integers uses one thread in any case. In fp32 it is a tenth, for
        four times the memory.
        """
        half = self._settings.threads // AT_ONCE
        if self.providers != (ort.CPU,) or not self._in_8_bits or half < 1:
            return None
        return ort.open_session(graph, replace(self._settings, threads=half))

    def computes(self, precision: Precision) -> Precision:
        """On a CPU there are no kernels in half precision: such graphs are computed in fp32."""
        half_on_cpu = self.providers == (ort.CPU,) and precision is Precision.FP16
        return Precision.FP32 if half_on_cpu else precision


class TensorRtEngine(OnnxRuntimeEngine):
    """TensorRT by ONNX Runtime's provider; what it cannot take runs on CUDA, never on the CPU."""

    name = OnnxEngine.TENSORRT

    def __init__(self, wish: EngineWish, settings: BackendSettings) -> None:
        super().__init__(replace(wish, providers=(ort.TENSORRT,)), settings)


class OpenVinoEngine:
    """OpenVINO on the CPU; its module is imported when it is wanted, since its package is extra."""

    name = OnnxEngine.OPENVINO
    providers: tuple[str, ...] = ("CPU",)

    def __init__(self, wish: EngineWish, settings: BackendSettings) -> None:
        self._openvino = _openvino()
        self.version: str = self._openvino.VERSION
        self._settings = self._openvino.OpenVinoSettings(settings.threads, wish.precision)

    def open(self, graph: Path) -> GraphSession:
        """Load a graph; raises StartError."""
        session: GraphSession = self._openvino.open_session(graph, self._settings)
        return session

    def open_half(self, graph: Path) -> GraphSession | None:
        """In bf16 it gained 6 to 12 % for half a gigabyte, in fp32 nothing."""
        del graph
        return None

    def computes(self, precision: Precision) -> Precision:
        """The compiled graph was asked: half precision is computed in fp32, bf16 in bf16."""
        return Precision.FP32 if precision is Precision.FP16 else precision


_ENGINES: dict[OnnxEngine, type[OnnxRuntimeEngine] | type[OpenVinoEngine]] = {
    OnnxEngine.ONNXRUNTIME: OnnxRuntimeEngine,
    OnnxEngine.OPENVINO: OpenVinoEngine,
    OnnxEngine.TENSORRT: TensorRtEngine,
}


def scales_over_batch(graph: Path) -> bool:
    """Whether the graph names an operation whose scale is the whole batch's."""
    return _uses(graph, _BATCH_SCALED)


def _uses(graph: Path, any_of: Collection[str]) -> bool:
    """Whether a graph has one of these operators; one that cannot be read is the library's."""
    try:
        return not operators(graph).isdisjoint(any_of)
    except ResourceValidationError:
        return False


def _refuse_wrong_device(engine: OnnxEngine, accelerator: Accelerator) -> None:
    only = {OnnxEngine.OPENVINO: Accelerator.CPU, OnnxEngine.TENSORRT: Accelerator.CUDA}
    if engine in only and accelerator is not only[engine]:
        raise DeviceMismatch(
            f"The engine {engine.value} runs on {only[engine].value}, and the pool's device is "
            f"{accelerator.value}.",
            remedy="Leave spec.model.engine out, or choose another pool.",
        )


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _openvino() -> ModuleType:
    try:
        return importlib.import_module("lumen_serving.graphs.openvino.session")
    except ImportError as error:
        raise BackendUnavailable(
            "The engine openvino needs the Python package 'openvino', which cannot be loaded here.",
            remedy="Install it: pip install 'lumen-serve[openvino]', or set spec.model.engine to "
            "onnxruntime.",
        ) from error
