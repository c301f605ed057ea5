"""Everything older, by one door: a single server's YAML in both of its shapes, or its variables.

`lumen serve` starts what is read here, `lumen resources` fetches its files: LumenModelServices, and
settings of the one machine. Keys that mean nothing here become warnings that name them; values that
cannot be followed without doing something else than asked are errors.
Started by variables alone, the older server was the unified one: CLIP and BioCLIP on one port.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from lumen_manifest.legacy.key_reader import KeyReader
from lumen_manifest.legacy.translation import (
    VARIABLES,
    OlderBackend,
    SingleServer,
    SingleService,
    accelerator_for,
    family_of,
    model_named,
    runtime_named,
    single_service,
)
from lumen_manifest.names import GRPC_PORT
from lumen_manifest.reading.parse import read_mapping, text_in
from lumen_manifest.reading.regular_files import read_named
from lumen_manifest.reading.yaml_tree import BYTES_MAX, TreeReader, UnreadableError
from lumen_manifest.server_config import BackendOverrides, ConfigError, MdnsSpec
from lumen_manifest.spec.enums import Family, Precision, Runtime

MODELS = {
    Family.CLIP: ("MobileCLIP2-S2", "ImageNet_1k"),
    Family.BIOCLIP: ("bioclip-2", "TreeOfLife-10M"),
}
_MDNS = ("TYPE", "NAME", "UUID", "STATUS", "VERSION")
_PREFIXES = ("CLIP_", "BIOCLIP_")
_OF_NO_MEANING = ("package", "import", "import_info", "registry_class", "add_to_server")
_BACKEND_ENV = (
    "BATCH_SIZE",
    "DEVICE",
    "ONNX_PROVIDERS",
    "ONNX_INTRA_OP_THREADS",
    "ONNX_INTER_OP_THREADS",
    "RKNN_TARGET",
)


def read_older(config: Path | None, environment: Mapping[str, str]) -> SingleServer:
    """Read the file, or without one the older server's variables.

    Raises:
        ConfigError: what is read cannot be followed; with everything that is wrong.
        ManifestError: the file is not YAML.

    """
    if config is None:
        return services_from_environment(environment)
    try:
        content = read_named(config, BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"{config} cannot be read: {error.strerror}. --config names a YAML file."
        ) from error
    return services_from_single_server_yaml(text_in(content, str(config)), str(config))


def single_server_in(text: str, filename: str) -> SingleServer | None:
    """Translate what may be an older configuration; None for anything else, right or wrong."""
    try:
        root = next(TreeReader(filename).documents(text.removeprefix("\ufeff")), None)
    except UnreadableError:
        return None
    document = root.plain() if root is not None else None
    if not isinstance(document, dict) or "kind" in document or "services" not in document:
        return None
    return services_from_single_server_yaml(text, filename)


def services_from_single_server_yaml(text: str, filename: str) -> SingleServer:
    """Translate a configuration file.

    Raises:
        ConfigError: it enables no service or several, or says what cannot be done.
        ManifestError: it is not YAML.

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
    port = server.positive("port") or top_server.positive("port") or GRPC_PORT
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
        cache_dir=_folder_named(cache_dir, metadata.place("cache_dir")) if cache_dir else None,
        warnings=tuple(warnings),
    )


def _folder_named(path: str, place: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{place}: {path} names nobody's home: write the whole path") from error


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
            "one: disable the others, or describe them as manifests and use `lumen up -f FILE`."
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
        runtime = runtime_named(model.text("runtime") or "onnx", model.place("runtime"))
        target = model.text("rknn_device") or backend.rknn_target
        accelerator = accelerator_for(backend, runtime, model)
        dataset = model.text("dataset")
        called, uri = model_named(model.text("model"))
        asked = {
            "name": called,
            "runtime": runtime.value,
            "precision": _precision(model, runtime),
            "source": {"region": region or "other"} | ({"uri": uri} if uri else {}),
        }
        own = replace(backend, rknn_target=target)
        yield single_service(unique, family, asked, dataset, accelerator, own, env)
        model.warn_unread()


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


def _backend(service: KeyReader, top: KeyReader) -> OlderBackend:
    env, own = service.section("env"), service.section("backend_settings")
    device = env.text("DEVICE") or own.text("device") or top.text("device")
    batch = env.positive("BATCH_SIZE") or own.positive("batch_size") or top.positive("batch_size")
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
    return OlderBackend(device, place, batch, env.text("RKNN_TARGET"), overrides)


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
    services = tuple(_by_variables(family, reader) for family in MODELS)
    mdns = _mdns_by_variables(reader)
    reader.warn_unread()
    return SingleServer(services=services, mdns=mdns, warnings=tuple(warnings), door=VARIABLES)


def mdns_from_environment(environment: Mapping[str, str]) -> MdnsSpec | None:
    """Read how to announce oneself from the older variables; None where they say nothing."""
    return _mdns_by_variables(KeyReader(dict(environment), "environment", "", []))


def _by_variables(family: Family, reader: KeyReader) -> SingleService:
    prefix = f"{family.name}_"
    name, label_set = MODELS[family]
    asked = reader.text(f"{prefix}BACKEND") or reader.text("CLIP_BACKEND") or "onnx"
    runtime = runtime_named(asked, reader.place(f"{prefix}BACKEND"))
    backend = OlderBackend(
        device=reader.text(f"{prefix}DEVICE"),
        device_place=reader.place(f"{prefix}DEVICE"),
        batch_size=reader.positive(f"{prefix}MAX_BATCH_SIZE") or reader.positive("BATCH_SIZE"),
        rknn_target=reader.text(f"{prefix}RKNN_TARGET"),
        overrides=BackendOverrides(onnx_providers=reader.texts(f"{prefix}ORT_PROVIDERS")),
    )
    accelerator = accelerator_for(backend, runtime, reader)
    precision = Precision.FP16 if runtime is Runtime.RKNN else Precision.FP32
    model: dict[str, Any] = {"name": name, "runtime": runtime.value, "precision": precision.value}
    if folder := _folder(prefix, runtime, reader):
        model["source"] = {"uri": f"file://{folder}"}
    return single_service(family.value, family, model, label_set, accelerator, backend)


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


def _mdns_by_variables(reader: KeyReader) -> MdnsSpec | None:
    found = {key.lower(): reader.text(f"CLIP_MDNS_{key}") for key in _MDNS}
    address = reader.text("ADVERTISE_IP")
    said = {key: value for key, value in found.items() if value}
    if not said and not address:
        return None
    return MdnsSpec(**{"advertise_ip": address, **said})
