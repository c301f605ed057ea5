"""The environment of a pod's containers: every port and path is a variable.

`lumen up` runs the same containers as processes and replaces these values by free ports and
folders of its own.
"""

from collections.abc import Iterable

from lumen_manifest import names
from lumen_manifest.render.config_map import pins_name_of
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.spec.pod_fields import EnvVar


def resources_env(rendering: Rendering) -> list[Manifest]:
    """Tell the container that fetches: it alone sees the source's secret and its proxies."""
    secret = rendering.service.spec.model.source.secret_ref
    secrets = [
        _from("secretKeyRef", name, secret.name, key) if secret else {}
        for name, key in names.SECRET_ENV.items()
    ]
    further = {"HOME": names.TMP_DIR, **rendering.context.source_env}
    return [
        *_shared(rendering),
        *_plain(further.items()),
        *(entry for entry in secrets if entry),
    ]


def prepare_env(rendering: Rendering) -> list[Manifest]:
    """Tell the container that computes label vectors: the server's device and variables."""
    return [
        *_shared(rendering),
        *_cpu_limit(rendering, names.PREPARE_CONTAINER),
        *_users(rendering),
    ]


def server_env(rendering: Rendering) -> list[Manifest]:
    """Tell the server."""
    context = rendering.context
    own = {
        "LUMEN_GRPC_PORT": str(names.GRPC_PORT),
        "LUMEN_HEALTH_PORT": str(names.HEALTH_PORT),
        "LUMEN_DRAIN_DELAY_S": str(context.drain_delay_s),
        "LUMEN_GRACE_S": str(context.grace_s),
    }
    return [
        *_shared(rendering),
        *_plain(own.items()),
        *_cpu_limit(rendering, names.SERVER_CONTAINER),
        *_users(rendering),
    ]


def _shared(rendering: Rendering) -> list[Manifest]:
    values = {
        "LUMEN_CONFIG": names.CONFIG_PATH,
        "LUMEN_CACHE_DIR": names.CACHE_DIR,
        "LUMEN_SOURCE_DIR": names.SOURCE_DIR,
        "LUMEN_TERMINATION_LOG": names.TERMINATION_LOG,
        "LUMEN_METRICS_PORT": str(names.METRICS_PORT),
        "LUMEN_BIND": "0.0.0.0",
        "LUMEN_LOG_FORMAT": "json",
        "LUMEN_LOG_LEVEL": rendering.service.spec.server.log_level.value,
    }
    config_map = pins_name_of(rendering.service)
    pins = [
        _from("configMapKeyRef", variable, config_map, key)
        for variable, key in names.PIN_ENV.items()
    ]
    return [*_plain(values.items()), *pins]


def _cpu_limit(rendering: Rendering, container: str) -> list[Manifest]:
    """Name the quota's whole cores; without a limit the field would say the node's cores."""
    if "cpu" not in rendering.service.spec.resources.limits:
        return []
    field = {"containerName": container, "resource": "limits.cpu", "divisor": "1"}
    return [{"name": "LUMEN_CPU_LIMIT", "valueFrom": {"resourceFieldRef": field}}]


def _users(rendering: Rendering) -> list[Manifest]:
    """Merge the pool's and the service's variables; the service's win."""
    chosen: dict[str, EnvVar] = {
        entry.name: entry
        for entry in (*rendering.pool.spec.env, *rendering.service.spec.server.env)
    }
    values = {"HOME": names.TMP_DIR} | {name: entry.value for name, entry in chosen.items()}
    return _plain(values.items())


def _plain(values: Iterable[tuple[str, str]]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in values]


def _from(kind: str, variable: str, name: str, key: str) -> Manifest:
    """Take a value from a Secret or ConfigMap that need not hold it."""
    return {"name": variable, "valueFrom": {kind: {"name": name, "key": key, "optional": True}}}
