"""The one module that imports onnxruntime: sessions with our settings, and its errors translated.

Used by the ONNX backend for a model's towers and by the label index for its integer product.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# While it is imported it calls its maker's server of usage events; its own function to refuse
# that comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from lumen_manifest.spec.enums import Accelerator
from lumen_serving.errors import BackendUnavailable, DeviceMismatch
from lumen_serving.graphs.ports import Port, RunFailed

VERSION: str = ort.__version__
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
# What runs beside a provider, on the same device, where that cannot take an operation.
_BESIDE: Mapping[str, tuple[str, ...]] = {TENSORRT: (CUDA,)}
# Per accelerator: the providers that may serve it, best first, and what installs them.
_PROVIDERS: Mapping[Accelerator, tuple[tuple[str, ...], str]] = {
    Accelerator.CUDA: ((CUDA,), "onnxruntime-gpu"),
    Accelerator.ROCM: (
        ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
        "onnxruntime-migraphx or onnxruntime-rocm",
    ),
}
# Over a transposed product of float16 this ends the process by a signal (onnxruntime 1.32).
_CRASHING = ("FuseFp16InitializerToFp32NodeTransformer",)
# A session writes the names that a graph gives its nodes to stderr as they are, escape sequences
# and lines among them. What fails is raised as well; what providers say of the machine stays.
_SILENT = 4
_ERRORS: tuple[type[Exception], ...] = tuple(
    one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)
)
_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a graph is to run.

    `providers` are onnxruntime's names, `threads` the intra-op threads on the CPU,
    `half` whether TensorRT may compute in fp16, `initializers` arrays that stand in for
    initialisers of the graph of the same name.
    """

    threads: int
    inter_op_threads: int = 1
    providers: tuple[str, ...] = (CPU,)
    device_memory_mib: int = 0
    half: bool = False
    initializers: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Session:
    """A loaded graph. `run` is thread-safe; `remarks` says where it is not loaded as usual."""

    def __init__(self, graph: Path | bytes, settings: SessionSettings) -> None:
        # The runtime refers to these arrays and does not copy them.
        self._kept = {
            name: ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in settings.initializers.items()
        }
        self.remarks: Mapping[str, str] = {}
        try:
            self._session = self._load(graph, settings, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        except _ERRORS:
            # Fusions without a kernel for the graph's type fail here, as some of float16 do on a
            # CPU; without them the graph loads, or its own error is the one to report.
            self.remarks = {"optimisation": "basic"}
            self._session = self._load(graph, settings, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC)
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())

    def _load(
        self, graph: Path | bytes, settings: SessionSettings, level: ort.GraphOptimizationLevel
    ) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = settings.inter_op_threads
        # Threads that spin between batches take the cores from the decode threads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Measured on a ViT-B/32: no faster with the arena (0.99 to 1.02), which keeps the memory
        # of the largest batch for ever.
        options.enable_cpu_mem_arena = False
        if settings.providers != (CPU,):
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if isinstance(graph, bytes):
            # Replaced initialisers are declared as lying in a file; any that exists will do.
            here = str(Path(__file__).parent)
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", here
            )
        for name, value in self._kept.items():
            options.add_initializer(name, value)
        model = graph if isinstance(graph, bytes) else str(graph)
        providers = [_with_options(name, settings) for name in settings.providers]
        return ort.InferenceSession(
            model, options, providers=providers, disabled_optimizers=list(_CRASHING)
        )

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs.

        Raises:
            RunFailed: the runtime's own failure, as the cause.

        """
        try:
            results: list[NDArray[Any]] = self._session.run(list(outputs), dict(feeds))
        except _ERRORS as error:
            raise RunFailed("onnxruntime failed on an input") from error
        return results

    def run_into(
        self, output: str, buffer: NDArray[np.float32], feeds: Mapping[str, NDArray[Any]]
    ) -> None:
        """Write one output into `buffer`, C-contiguous and of its shape: nothing is allocated.

        Raises:
            RunFailed: the runtime's own failure, as the cause.

        """
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        binding.bind_output(output, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except _ERRORS as error:
            raise RunFailed("onnxruntime failed on an input") from error


def open_session(graph: Path, settings: SessionSettings) -> Session:
    """Load a model's graph.

    Raises:
        BackendUnavailable: the runtime cannot load it.
        DeviceMismatch: it can, but not on the device alone.

    """
    try:
        session = Session(graph, settings)
    except _ERRORS as error:
        if settings.providers != (CPU,) and "fallback" in str(error).lower():
            raise DeviceMismatch(
                f"{graph.name} cannot run on {settings.providers[0]} alone: some of its "
                "operations would fall back to the CPU.",
                remedy="Export the model for this device, or use the cpu pool.",
                file=graph.name,
            ) from error
        raise BackendUnavailable(
            f"onnxruntime {VERSION} cannot load {graph.name}: {_first_line(error)}.",
            remedy="Export the model anew, or upgrade onnxruntime.",
            file=graph.name,
        ) from error
    if settings.providers[0] not in session.providers:
        raise DeviceMismatch(
            f"{settings.providers[0]} was asked for, onnxruntime uses "
            f"{', '.join(session.providers)}.",
            remedy="Check the driver and the device of this node.",
        )
    return session


def choose_providers(accelerator: Accelerator, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the providers for an accelerator; `wanted` (older settings) narrows the choice.

    Raises:
        BackendUnavailable: none of them is in the installed onnxruntime; says what to install.
        DeviceMismatch: onnxruntime does not run on this accelerator at all.

    """
    named = tuple(name for name in wanted if name != CPU)
    if accelerator is Accelerator.CPU:
        if named:
            raise DeviceMismatch(
                f"The providers {', '.join(named)} do not run on a CPU, and the device is cpu.",
                remedy="Take them out, or put the service on a pool with that device.",
            )
        return (CPU,)
    if accelerator not in _PROVIDERS:
        raise DeviceMismatch(
            f"The runtime onnx does not run on {accelerator.value}.",
            remedy="Set spec.model.runtime to the one made for this device.",
        )
    known, package = _PROVIDERS[accelerator]
    available = ort.get_available_providers()
    for name in named or known:
        if name in available:
            return (name, *_BESIDE.get(name, ()))
    raise BackendUnavailable(
        f"{' or '.join(named or known)} is not in the installed onnxruntime {VERSION}, "
        f"which has {', '.join(available)}.",
        remedy=f"Install {package} in place of onnxruntime, or use the cpu pool.",
    )


def _with_options(name: str, settings: SessionSettings) -> Any:
    if name == CUDA and settings.device_memory_mib:
        return name, {
            "gpu_mem_limit": str(settings.device_memory_mib * 2**20),
            "arena_extend_strategy": "kSameAsRequested",
        }
    if name == TENSORRT:
        options = {"trt_fp16_enable": str(settings.half).lower()}
        if settings.device_memory_mib:
            options["trt_max_workspace_size"] = str(settings.device_memory_mib * 2**20)
        return name, options
    return name


def _port(node: Any) -> Port:
    shape = tuple(edge if isinstance(edge, int) else None for edge in node.shape)
    return Port(node.name, _DTYPES.get(node.type), shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".")
