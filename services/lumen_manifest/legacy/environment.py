"""The older server's environment variables, as LumenModelServices.

Started by variables alone, the older server was the unified one: CLIP and BioCLIP on one port.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lumen_manifest.legacy.key_reader import KeyReader
from lumen_manifest.legacy.single_server_plan import (
    SingleServer,
    SingleService,
    accelerator_for,
    make_service,
    runtime_named,
)
from lumen_manifest.server_config import BackendOverrides, MdnsSpec
from lumen_manifest.spec.enums import Accelerator, Family, Precision, Runtime

MODELS = {
    Family.CLIP: ("MobileCLIP2-S2", "ImageNet_1k"),
    Family.BIOCLIP: ("bioclip-2", "TreeOfLife-10M"),
}
_MDNS = ("TYPE", "NAME", "UUID", "STATUS", "VERSION")
_PREFIXES = ("CLIP_", "BIOCLIP_")


def services_from_environment(environment: Mapping[str, str]) -> SingleServer:
    """Translate the variables; what they leave unsaid has the older server's defaults.

    Raises:
        ConfigError: a variable says what cannot be done.

    """
    warnings: list[str] = []
    ours = {
        name: value
        for name, value in environment.items()
        if name.startswith(_PREFIXES) or name in {"BATCH_SIZE", "ADVERTISE_IP"}
    }
    reader = KeyReader(ours, "environment", "", warnings)
    services = tuple(_service(family, reader) for family in MODELS)
    mdns = _mdns(reader)
    reader.warn_unread()
    return SingleServer(services=services, mdns=mdns, warnings=tuple(warnings))


def _service(family: Family, reader: KeyReader) -> SingleService:
    prefix = f"{family.name}_"
    name, label_set = MODELS[family]
    backend = reader.text(f"{prefix}BACKEND") or reader.text("CLIP_BACKEND") or "onnx"
    runtime = runtime_named(backend, reader.place(f"{prefix}BACKEND"))
    providers = reader.texts(f"{prefix}ORT_PROVIDERS")
    accelerator, warnings = accelerator_for(
        reader.text(f"{prefix}DEVICE"), providers, runtime, reader.place(f"{prefix}DEVICE")
    )
    reader.warn(*warnings)
    batch = reader.number(f"{prefix}MAX_BATCH_SIZE") or reader.number("BATCH_SIZE")
    precision = Precision.FP16 if runtime is Runtime.RKNN else Precision.FP32
    model: dict[str, Any] = {
        "name": name,
        "runtime": runtime.value,
        "precision": precision.value,
    }
    folder = _folder(prefix, runtime, reader)
    if folder:
        model["source"] = {"uri": f"file://{folder}"}
    spec: dict[str, Any] = {
        "model": model,
        "labelSets": [{"name": label_set}],
        "pool": accelerator.value,
        "server": {"maxBatchSize": batch} if batch else {},
    }
    if family is Family.CLIP:
        spec["scenes"] = {}
    target = reader.text(f"{prefix}RKNN_TARGET")
    return SingleService(
        make_service(family.value, family, spec),
        BackendOverrides(onnx_providers=providers),
        target if accelerator is Accelerator.RK3588 else "",
    )


def _folder(prefix: str, runtime: Runtime, reader: KeyReader) -> str:
    """Find the folder of the model from the files that the older server was given one by one."""
    keys = {
        Runtime.ONNX: (f"{prefix}ONNX_IMAGE", f"{prefix}ONNX_TEXT"),
        Runtime.RKNN: (f"{prefix}RKNN_MODEL",),
    }.get(runtime, ())
    for other in ("ONNX_IMAGE", "ONNX_TEXT", "RKNN_MODEL"):
        if f"{prefix}{other}" not in keys:
            reader.ignore(f"{prefix}{other}")
    files = [PurePosixPath(text) for text in map(reader.text, keys) if text]
    folders = {str(file.parent) for file in files}
    if len(folders) > 1:
        reader.warn(
            f"{reader.place(keys[0])} and {keys[1]} lie in different folders and are ignored: "
            "put both into one folder"
        )
        return ""
    return next(iter(folders), "")


def _mdns(reader: KeyReader) -> MdnsSpec | None:
    found = {key.lower(): reader.text(f"CLIP_MDNS_{key}") for key in _MDNS}
    address = reader.text("ADVERTISE_IP")
    said = {key: value for key, value in found.items() if value}
    if not said and not address:
        return None
    return MdnsSpec(**{"advertise_ip": address, **said})
