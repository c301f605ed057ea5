"""The older single server's YAML, in both of its shapes, as LumenModelServices.

Read by `lumen serve --config FILE`. Keys that mean nothing here become warnings that name them;
values that cannot be followed without doing something else than asked are errors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumen_manifest.legacy.key_reader import KeyReader
from lumen_manifest.legacy.single_server_plan import (
    SingleServer,
    SingleService,
    accelerator_for,
    family_of,
    make_service,
    runtime_named,
)
from lumen_manifest.names import GRPC_PORT
from lumen_manifest.reading.parse import read_mapping
from lumen_manifest.server_config import BackendOverrides, ConfigError, MdnsSpec
from lumen_manifest.spec.enums import Accelerator, Family, Precision, Runtime

_OF_NO_MEANING = ("package", "import", "import_info", "registry_class", "add_to_server")
_BACKEND_ENV = (
    "BATCH_SIZE",
    "DEVICE",
    "ONNX_PROVIDERS",
    "ONNX_INTRA_OP_THREADS",
    "ONNX_INTER_OP_THREADS",
    "RKNN_TARGET",
)


@dataclass(frozen=True, slots=True)
class _Backend:
    """Device, batch size and threads, from `env` or `backend_settings`; None where unsaid."""

    device: str
    device_place: str
    batch_size: int | None
    rknn_target: str
    overrides: BackendOverrides


def is_single_server(document: object) -> bool:
    """Say whether a YAML document is an older configuration and not a manifest."""
    return isinstance(document, dict) and "kind" not in document and "services" in document


def services_from_single_server_yaml(text: str, filename: str) -> SingleServer:
    """Translate a configuration file.

    Raises:
        ConfigError: it enables no service or several, or says what cannot be done.
        ManifestError: it is no YAML.

    """
    warnings: list[str] = []
    document = KeyReader(read_mapping(text, filename), filename, "", warnings)
    metadata = document.section("metadata")
    region, cache_dir = metadata.text("region"), metadata.text("cache_dir")
    metadata.ignore("version")
    top_backend = document.section("backend_settings")
    name, service = _chosen(document)
    server = service.section("server")
    top_server = document.section("server")
    port = server.number("port") or top_server.number("port") or GRPC_PORT
    if not 1 <= port <= 65535:
        raise ConfigError(f"{filename}: server.port: {port} is not a port (1 to 65535)")
    mdns = _mdns(server) or _mdns(top_server)
    services = tuple(_services(name, service, region, top_backend))
    for section in (document, metadata, service, server, top_server, top_backend):
        section.warn_unread()
    return SingleServer(
        services=services,
        port=port,
        mdns=mdns,
        cache_dir=Path(cache_dir).expanduser() if cache_dir else None,
        warnings=tuple(warnings),
    )


def _chosen(document: KeyReader) -> tuple[str, KeyReader]:
    """Find the one service to start: what `deployment` names, else what is enabled."""
    services = document.section("services")
    enabled = [name for name in services.names() if services.section(name).flag("enabled", True)]
    deployment = document.section("deployment")
    deployment.ignore("mode")
    named = [each for each in (deployment.text("service"), *deployment.texts("services")) if each]
    deployment.warn_unread()
    for name in named:
        if name not in services.names():
            raise ConfigError(
                f"{document.file}: deployment names the service {name}, which services does not "
                f"have. ({', '.join(services.names())})"
            )
    wanted = named or enabled
    if not wanted:
        raise ConfigError(
            f"{document.file}: No service enabled. Set enabled: true for one of: "
            f"{', '.join(services.names()) or 'services, which is empty'}."
        )
    if len(wanted) > 1:
        raise ConfigError(
            f"{document.file}: Multiple services enabled: {', '.join(wanted)}. One process serves "
            "one: disable the others, or describe them as manifests and use `lumen up -f`."
        )
    chosen = services.section(wanted[0])
    chosen.ignore("enabled", *_OF_NO_MEANING)
    return wanted[0], chosen


def _services(
    name: str, service: KeyReader, region: str, top_backend: KeyReader
) -> Iterator[SingleService]:
    """Make one service per model; two families in one entry are the unified form."""
    package = service.text("package")
    models = service.section("models")
    aliases = models.names()
    if not aliases:
        raise ConfigError(f"{service.place('models')}: names no model")
    entry_family = "" if "unified" in name else f"{name} {package}"
    backend = _backend(service, top_backend)
    env = _further_env(service)
    used: set[str] = set()
    for alias in aliases:
        model = models.section(alias)
        family = family_of(entry_family, alias, model.text("model"))
        unique = family.value if family.value not in used else f"{family}-{_dashed(alias)}"
        used.add(unique)
        yield _single(unique, family, model, region, backend, env)
        model.warn_unread()


def _single(  # noqa: PLR0913, PLR0917 - every argument is a part of the file
    name: str,
    family: Family,
    model: KeyReader,
    region: str,
    backend: _Backend,
    env: list[dict[str, str]],
) -> SingleService:
    runtime = runtime_named(model.text("runtime") or "onnx", model.place("runtime"))
    target = model.text("rknn_device") or backend.rknn_target
    providers = backend.overrides.onnx_providers
    accelerator, warnings = accelerator_for(
        backend.device, providers, runtime, backend.device_place
    )
    model.warn(*warnings)
    dataset = model.text("dataset")
    server: dict[str, Any] = {"env": env}
    if backend.batch_size is not None:
        server["maxBatchSize"] = backend.batch_size
    spec: dict[str, Any] = {
        "model": {
            "name": model.text("model"),
            "runtime": runtime.value,
            "precision": _precision(model, runtime),
            "source": {"region": region or "other"},
        },
        "labelSets": [{"name": dataset}] if dataset else [],
        "pool": accelerator.value,
        "server": server,
    }
    if family is Family.CLIP:
        spec["scenes"] = {}
    return SingleService(
        make_service(name, family, spec),
        backend.overrides,
        target if accelerator is Accelerator.RK3588 else "",
    )


def _precision(model: KeyReader, runtime: Runtime) -> str:
    precision = model.text("precision").lower()
    if precision and precision not in set(Precision):
        raise ConfigError(
            f'{model.place("precision")}: "{precision}" is not served. Choose one of '
            f"{', '.join(Precision)}."
        )
    if not precision and runtime is Runtime.RKNN:
        model.warn(f"{model.place('precision')}: is missing; fp16 is used")
        return Precision.FP16.value
    return precision or Precision.FP32.value


def _backend(service: KeyReader, top: KeyReader) -> _Backend:
    env, own = service.section("env"), service.section("backend_settings")
    device = env.text("DEVICE") or own.text("device") or top.text("device")
    batch = env.number("BATCH_SIZE") or own.number("batch_size") or top.number("batch_size")
    providers = (
        env.texts("ONNX_PROVIDERS") or own.texts("onnx_providers") or top.texts("onnx_providers")
    )
    overrides = BackendOverrides(
        onnx_providers=providers,
        intra_op_threads=env.count("ONNX_INTRA_OP_THREADS"),
        inter_op_threads=env.count("ONNX_INTER_OP_THREADS"),
    )
    own.warn_unread()
    place = env.place("DEVICE") if env.text("DEVICE") else service.place("device")
    return _Backend(device, place, batch, env.text("RKNN_TARGET"), overrides)


def _further_env(service: KeyReader) -> list[dict[str, str]]:
    """Hand every other variable to the server, as the older one did."""
    env = service.section("env")
    return [
        {"name": name, "value": env.text(name)} for name in env.names() if name not in _BACKEND_ENV
    ]


def _mdns(server: KeyReader) -> MdnsSpec | None:
    if "mdns" not in server.names():
        return None
    mdns = server.section("mdns")
    spec = MdnsSpec(
        enabled=mdns.flag("enabled", False),
        name=mdns.text("name") or mdns.text("service_name"),
        type=mdns.text("type") or MdnsSpec().type,
    )
    mdns.warn_unread()
    return spec


def _dashed(alias: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in alias.lower()).strip("-")
