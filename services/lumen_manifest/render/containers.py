"""The containers of a model pod (resources, prepare, server), their variables and volumes.

Every port and path is a variable: `lumen up` runs the same containers as processes and replaces
these values by free ports and folders of its own.
"""

from collections.abc import Iterable

from lumen_manifest import names
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.sizing import default_requests
from lumen_manifest.source_uri import further_claims, source_claim
from lumen_manifest.spec.enums import CacheType, ProcMount
from lumen_manifest.spec.field_types import amount_of
from lumen_manifest.spec.pod_fields import EnvVar
from lumen_manifest.spec.service_settings import CacheSpec

CONFIG, CACHE, TMP, SOURCE, LISTS = "config", "cache", "tmp", "source", "names"
TMP_LIMIT = "1Gi"
PROBE_TIMEOUT_S = 5  # Kubernetes' default of 1 s is too tight for a busy CPU


def init_containers(rendering: Rendering) -> list[Manifest]:
    """Render `resources`, and `prepare` when there are label sets whose vectors may be missing."""
    spec, context = rendering.service.spec, rendering.context
    found = [
        {
            **_shared(rendering),
            "name": names.RESOURCES_CONTAINER,
            "image": context.images.resources,
            "command": ["python3", "-m", "lumen_resources"],
            "env": _resources_env(rendering),
            **_named_secret(rendering),
            "resources": _own_resources(rendering),
            "securityContext": security_context(ProcMount.DEFAULT),
        }
    ]
    if spec.label_sets:
        found.append(
            {
                **_shared(rendering),
                "name": names.PREPARE_CONTAINER,
                "image": rendering.server_image,
                "command": ["python3", "-m", "lumen_serving", "prepare"],
                "env": _prepare_env(rendering),
                "resources": _device_resources(rendering),
                "securityContext": security_context(rendering.pool.spec.pod_security.proc_mount),
            }
        )
    return found


def server_container(rendering: Rendering) -> Manifest:
    """Render the model server."""
    deadline_s = rendering.service.spec.rollout.progress_deadline_seconds
    return {
        **_shared(rendering),
        "name": names.SERVER_CONTAINER,
        "image": rendering.server_image,
        "command": ["python3", "-m", "lumen_serving"],
        "env": _server_env(rendering),
        "ports": [
            _port("grpc", names.GRPC_PORT),
            _port("health", names.HEALTH_PORT),
            _port("metrics", names.METRICS_PORT),
        ],
        "volumeMounts": mounts(rendering, cache_read_only=True),
        "resources": _server_resources(rendering),
        "securityContext": security_context(rendering.pool.spec.pod_security.proc_mount),
        # Loading takes as long as it takes: liveness begins when the startup probe has succeeded.
        "startupProbe": _probe(names.HEALTH_SERVICE, period_s=1, failures=deadline_s),
        "readinessProbe": _probe(names.HEALTH_SERVICE, period_s=5, failures=2),
        "livenessProbe": _probe(names.LIVENESS_SERVICE, period_s=10, failures=6),
    }


def security_context(proc_mount: ProcMount) -> Manifest:
    """Render a container without any privilege; said in full, so that drift is repaired."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "procMount": proc_mount.value,
    }


def _shared(rendering: Rendering) -> Manifest:
    return {
        "imagePullPolicy": rendering.context.images.pull_policy,
        "volumeMounts": mounts(rendering, cache_read_only=False),
        "terminationMessagePath": names.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _own_resources(rendering: Rendering) -> Manifest:
    asked = rendering.service.spec.resources
    return {
        key: dict(values)
        for key, values in (("limits", asked.limits), ("requests", asked.requests))
        if values
    }


def _device_resources(rendering: Rendering) -> Manifest:
    """Add the pool's device; an extended resource has the same limit and request."""
    resources, device = _own_resources(rendering), rendering.pool.spec.device
    if device is None:
        return resources
    count = {device.resource: str(device.count)}
    return {key: {**resources.get(key, {}), **count} for key in ("limits", "requests")}


def _server_resources(rendering: Rendering) -> Manifest:
    """Add the requests that the service leaves open; those of init containers are not added up."""
    spec, resources = rendering.service.spec, _device_resources(rendering)
    requests = {
        **resources.get("requests", {}),
        **default_requests(spec.model, spec.resources),
    }
    return {**resources, "requests": requests} if requests else resources


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _probe(service: str, *, period_s: int, failures: int) -> Manifest:
    return {
        "grpc": {"port": names.HEALTH_PORT, "service": service},
        "periodSeconds": period_s,
        "timeoutSeconds": PROBE_TIMEOUT_S,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def _resources_env(rendering: Rendering) -> list[Manifest]:
    """Tell the container that fetches: it alone sees the source's secret and its proxies."""
    secret = rendering.service.spec.model.source.secret_ref
    secrets = [
        _from("secretKeyRef", name, secret.name, key) if secret else {}
        for name, key in names.SECRET_ENV.items()
    ]
    further = {"HOME": names.TMP_DIR, **rendering.context.source_env}
    return [
        *_shared_env(rendering),
        *_plain(_cache_limit(rendering)),
        *_plain(further.items()),
        *(entry for entry in secrets if entry),
    ]


def _named_secret(rendering: Rendering) -> Manifest:
    """Let the kubelet say at once that there is no such Secret, as its keys, all optional, do not.

    The prefix keeps a Secret from setting variables that a program obeys.
    """
    secret = rendering.service.spec.model.source.secret_ref
    if secret is None:
        return {}
    return {"envFrom": [{"prefix": names.KEY_PREFIX, "secretRef": {"name": secret.name}}]}


def _cache_limit(rendering: Rendering) -> list[tuple[str, str]]:
    """Tell how far an emptyDir may grow: beyond it the pod is evicted, files and all."""
    cache = cache_of(rendering)
    limit = None if cache.type is CacheType.PERSISTENT_VOLUME_CLAIM else amount_of(cache.size_limit)
    return [] if limit is None else [(names.CACHE_LIMIT_ENV, str(int(limit)))]


def _prepare_env(rendering: Rendering) -> list[Manifest]:
    """Tell the container that computes label vectors: the server's device and variables."""
    return [
        *_shared_env(rendering),
        *_cpu_limit(rendering, names.PREPARE_CONTAINER),
        *_users(rendering),
    ]


def _server_env(rendering: Rendering) -> list[Manifest]:
    """Tell the server."""
    context = rendering.context
    own = {
        "LUMEN_GRPC_PORT": str(names.GRPC_PORT),
        "LUMEN_HEALTH_PORT": str(names.HEALTH_PORT),
        "LUMEN_DRAIN_DELAY_S": str(context.drain_delay_s),
        "LUMEN_GRACE_S": str(context.grace_s),
    }
    return [
        *_shared_env(rendering),
        *_plain(own.items()),
        *_cpu_limit(rendering, names.SERVER_CONTAINER),
        *_users(rendering),
    ]


def _shared_env(rendering: Rendering) -> list[Manifest]:
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
    config_map = rendering.service.pins_name
    pins = [
        _from("configMapKeyRef", variable, config_map, key)
        for variable, key in names.PIN_ENV.items()
        if variable != names.LABEL_PIN or _has_sets_from_elsewhere(rendering)
    ]
    return [*_plain(values.items()), *pins]


def _has_sets_from_elsewhere(rendering: Rendering) -> bool:
    return rendering.service.has_sets_from_elsewhere


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


def cache_of(rendering: Rendering) -> CacheSpec:
    """The service's cache, else its pool's."""
    return rendering.service.spec.cache or rendering.pool.spec.cache


def volumes(rendering: Rendering, config_map: str) -> list[Manifest]:
    """Render the pod's volumes."""
    found: list[Manifest] = [
        {"name": CONFIG, "configMap": {"name": config_map}},
        {"name": CACHE, **_cache_volume(cache_of(rendering))},
        {"name": TMP, "emptyDir": {"sizeLimit": TMP_LIMIT}},
    ]
    found += [
        {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        for volume, claim, _ in _claims(rendering)
    ]
    lists = _name_lists(rendering)
    if lists:
        found.append({"name": LISTS, "projected": {"sources": lists}})
    return found


def _claims(rendering: Rendering) -> list[tuple[str, str, str]]:
    """Name the volume of each claim that is read in place, the claim, and where it is mounted."""
    spec = rendering.service.spec
    own = source_claim(spec)
    found = [] if own is None else [(SOURCE, own, names.SOURCE_DIR)]
    for number, claim in enumerate(further_claims(spec), 1):
        found.append((f"{SOURCE}-{number}", claim, f"{names.CLAIMS_DIR}/{claim}"))
    return found


def _name_lists(rendering: Rendering) -> list[Manifest]:
    """Render where the label sets' lists of names come from.

    A ConfigMap may be absent: the pod then says so itself, which a volume that never mounts cannot.
    """
    return [
        {
            "configMap": {
                "name": said.config_map.name,
                "items": [{"key": said.config_map.key, "path": names.list_file(each.name, field)}],
                "optional": True,
            }
        }
        for each in rendering.service.spec.label_sets
        for field, said in each.name_lists.items()
        if said.config_map is not None
    ]


def mounts(rendering: Rendering, *, cache_read_only: bool) -> list[Manifest]:
    """Render a container's mounts; only the server sees the cache read-only."""
    found: list[Manifest] = [
        {"name": CONFIG, "mountPath": names.CONFIG_DIR, "readOnly": True},
        {"name": CACHE, "mountPath": names.CACHE_DIR, "readOnly": cache_read_only},
        {"name": TMP, "mountPath": names.TMP_DIR, "readOnly": False},
    ]
    found += [
        {"name": volume, "mountPath": place, "readOnly": True}
        for volume, _, place in _claims(rendering)
    ]
    if _name_lists(rendering):
        found.append({"name": LISTS, "mountPath": names.LISTS_DIR, "readOnly": True})
    return found


def _cache_volume(cache: CacheSpec) -> Manifest:
    if cache.type is CacheType.PERSISTENT_VOLUME_CLAIM:
        return {"persistentVolumeClaim": {"claimName": cache.claim_name}}
    return {"emptyDir": {"sizeLimit": cache.size_limit}}
