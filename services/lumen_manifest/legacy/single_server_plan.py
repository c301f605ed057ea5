"""What an older single-server configuration becomes: services, and settings of the one machine.

Shared by the two doors, `single_server` (YAML) and `environment` (variables).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumen_manifest.model_service import API_VERSION, LumenModelService
from lumen_manifest.names import GRPC_PORT
from lumen_manifest.reading.parse import ManifestError, parse_object
from lumen_manifest.reading.wording import closest
from lumen_manifest.server_config import BackendOverrides, ConfigError, MdnsSpec
from lumen_manifest.spec.enums import Accelerator, Family, Runtime

RUNTIMES = {
    "torch": Runtime.TORCH,
    "pytorch": Runtime.TORCH,
    "onnx": Runtime.ONNX,
    "onnxrt": Runtime.ONNX,
    "onnxruntime": Runtime.ONNX,
    "ort": Runtime.ONNX,
    "rknn": Runtime.RKNN,
}
DEVICES = {
    "cpu": Accelerator.CPU,
    "cuda": Accelerator.CUDA,
    "gpu": Accelerator.CUDA,
    "rocm": Accelerator.ROCM,
    "hip": Accelerator.ROCM,
    "npu": Accelerator.RK3588,
    "rknn": Accelerator.RK3588,
    "rk3588": Accelerator.RK3588,
}
PROVIDERS = {
    "CUDAExecutionProvider": Accelerator.CUDA,
    "TensorrtExecutionProvider": Accelerator.CUDA,
    "ROCMExecutionProvider": Accelerator.ROCM,
    "MIGraphXExecutionProvider": Accelerator.ROCM,
}


@dataclass(frozen=True, slots=True)
class SingleService:
    """One service, and what only an older configuration can say about its backend."""

    service: LumenModelService
    backend: BackendOverrides = BackendOverrides()  # noqa: RUF009 - frozen, so it may be shared
    rknn_target: str = ""


@dataclass(frozen=True, slots=True)
class SingleServer:
    """A whole configuration: one service, or the two of the unified form behind one port.

    `warnings` name what the configuration says and we cannot do.
    """

    services: tuple[SingleService, ...]
    port: int = GRPC_PORT
    mdns: MdnsSpec | None = None
    cache_dir: Path | None = None
    warnings: tuple[str, ...] = ()


def runtime_named(name: str, where: str) -> Runtime:
    """Read a backend's older name.

    Raises:
        ConfigError: there is no such backend.

    """
    try:
        return RUNTIMES[name.strip().lower()]
    except KeyError:
        hint = closest(name, RUNTIMES)
        raise ConfigError(
            f'{where}: "{name}" is not a runtime.{hint} ({", ".join(Runtime)})'
        ) from None


def accelerator_for(
    device: str, providers: tuple[str, ...], runtime: Runtime, where: str
) -> tuple[Accelerator, tuple[str, ...]]:
    """Choose the accelerator that a device name, else the providers, else the runtime mean.

    Returns it with the warnings about what was not followed.
    """
    if runtime is Runtime.RKNN:
        return Accelerator.RK3588, ()
    name, _, index = device.strip().lower().partition(":")
    if name in DEVICES:
        chosen = DEVICES[name]
        if index in {"", "0"}:
            return chosen, ()
        said = f"{where}: {device}: choose the card by CUDA_VISIBLE_DEVICES={index}"
        return chosen, (said,)
    found = next((PROVIDERS[each] for each in providers if each in PROVIDERS), Accelerator.CPU)
    if name in {"", "auto"}:
        return found, ()
    return found, (f"{where}: device {device} is not known here: {found} is used",)


def make_service(name: str, family: Family, spec: Mapping[str, Any]) -> LumenModelService:
    """Build the service through the same door as a manifest.

    Raises:
        ConfigError: a value is one that no manifest may have.

    """
    document = {
        "apiVersion": API_VERSION,
        "kind": "LumenModelService",
        "metadata": {"name": name},
        "spec": {"family": family.value, "default": True, **spec},
    }
    try:
        service = parse_object(document)
    except ManifestError as error:
        raise ConfigError(f"service {name}: {error}") from error
    if not isinstance(service, LumenModelService):
        raise ConfigError(f"service {name} is not a model service")
    return service


def family_of(*hints: str) -> Family:
    """Guess the family from what a service, its package, an alias and a model are called."""
    words = " ".join(hints).lower()
    return next(
        (family for family in (Family.BIOCLIP, Family.SIGLIP) if family in words), Family.CLIP
    )
