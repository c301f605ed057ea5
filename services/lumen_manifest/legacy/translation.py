"""What an older configuration becomes: services, and settings of the one machine."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumen_manifest.legacy.key_reader import KeyReader
from lumen_manifest.model_service import API_VERSION, LumenModelService
from lumen_manifest.names import GRPC_PORT
from lumen_manifest.reading.doors import Door
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


FILE = Door(
    {
        "spec.cache.sizeLimit": "metadata.cache_dir",
        "spec.labelSets": "dataset",
        "spec.model.name": "model",
        "spec.model.precision": "precision",
        "spec.model.runtime": "runtime",
        "spec.model.source": "model",
        "spec.model.source.region": "metadata.region",
        "spec.model.source.revision": "model, as hf://owner/name@revision",
        "spec.model.source.uri": "model",
        "spec.pool": "DEVICE",
        "spec.server.maxBatchSize": "BATCH_SIZE",
    },
    has_secrets=False,
)
"""What the fields of a manifest are called in a single server's file."""
VARIABLES = Door(
    {
        **FILE.words,
        "spec.cache.sizeLimit": "--cache-dir",
        "spec.model.runtime": "CLIP_BACKEND or BIOCLIP_BACKEND",
        "spec.model.source": "--cache-dir",
        "spec.model.source.uri": "CLIP_ONNX_IMAGE or BIOCLIP_ONNX_IMAGE",
        "spec.pool": "CLIP_DEVICE or BIOCLIP_DEVICE",
    },
    has_secrets=False,
)
"""What they are called by those who set the older server's variables."""


@dataclass(frozen=True, slots=True)
class SingleService:
    """One service, and what only an older configuration can say about its backend."""

    service: LumenModelService
    backend: BackendOverrides = BackendOverrides()  # noqa: RUF009 - frozen, so it may be shared
    rknn_target: str = ""


@dataclass(frozen=True, slots=True)
class SingleServer:
    """A whole configuration: one service, or the two of the unified form behind one port.

    `warnings` name what the configuration says and we cannot do. `door` has the words that its
    author knows a manifest's fields by.
    """

    services: tuple[SingleService, ...]
    port: int = GRPC_PORT
    mdns: MdnsSpec | None = None
    cache_dir: Path | None = None
    warnings: tuple[str, ...] = ()
    door: Door = FILE


@dataclass(frozen=True, slots=True)
class OlderBackend:
    """Device, batch size and threads of one service; None and empty where unsaid."""

    device: str
    device_place: str
    batch_size: int | None
    rknn_target: str
    overrides: BackendOverrides


def single_service(  # noqa: PLR0913, PLR0917 - every argument is a part of the file
    name: str,
    family: Family,
    model: dict[str, Any],
    label_set: str,
    accelerator: Accelerator,
    backend: OlderBackend,
    env: Sequence[dict[str, str]] = (),
) -> SingleService:
    """Build one service through the same door as a manifest.

    Raises:
        ConfigError: a value is one that no manifest may have.

    """
    server: dict[str, Any] = {"env": list(env)}
    if backend.batch_size is not None:
        server["maxBatchSize"] = backend.batch_size
    spec = {
        "family": family.value,
        "default": True,
        "model": model,
        "labelSets": [{"name": label_set}] if label_set else [],
        "pool": accelerator.value,
        "server": server,
        **({"scenes": {}} if family is Family.CLIP else {}),
    }
    kind, metadata = LumenModelService.__name__, {"name": name}
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
    try:
        service = parse_object(document)
    except ManifestError as error:
        raise ConfigError(f"service {name}: {FILE.says(str(error))}") from error
    if not isinstance(service, LumenModelService):
        raise ConfigError(f"service {name} is not a model service")
    target = backend.rknn_target if accelerator is Accelerator.RK3588 else ""
    return SingleService(service, backend.overrides, target)


def model_named(text: str) -> tuple[str, str | None]:
    """Read what `model` says, a name or where its files come from, as a name and a URI."""
    if "://" not in text:
        return text, None
    last = text.partition("://")[2].partition("@")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._") or "model", text


def runtime_named(name: str, where: str) -> Runtime:
    """Read a backend's older name; raises ConfigError when there is no such backend."""
    try:
        return RUNTIMES[name.strip().lower()]
    except KeyError:
        hint = closest(name, RUNTIMES)
        raise ConfigError(
            f'{where}: "{name}" is not a runtime.{hint} ({", ".join(Runtime)})'
        ) from None


def accelerator_for(backend: OlderBackend, runtime: Runtime, reader: KeyReader) -> Accelerator:
    """Choose the accelerator that the device's name, else the providers, else the runtime mean.

    What is not followed becomes a warning.
    """
    if runtime is Runtime.RKNN:
        return Accelerator.RK3588
    providers = backend.overrides.onnx_providers
    found = next((PROVIDERS[each] for each in providers if each in PROVIDERS), Accelerator.CPU)
    device, where = backend.device, backend.device_place
    name, _, index = device.strip().lower().partition(":")
    if name not in DEVICES:
        if name not in {"", "auto"}:
            reader.warn(f"{where}: device {device} is not known here: {found} is used")
        return found
    if index not in {"", "0"}:
        reader.warn(f"{where}: {device}: choose the card by CUDA_VISIBLE_DEVICES={index}")
    return DEVICES[name]


def family_of(*hints: str) -> Family:
    """Guess the family from what a service, its package, an alias and a model are called."""
    words = " ".join(hints).lower()
    return next(
        (family for family in (Family.BIOCLIP, Family.SIGLIP) if family in words), Family.CLIP
    )
