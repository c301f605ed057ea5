"""The containers of a model pod: resources, prepare, server."""

from lumen_manifest import names
from lumen_manifest.render import environment
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.volumes import mounts
from lumen_manifest.spec.enums import ProcMount

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
            "env": environment.resources_env(rendering),
            "ports": [_port("status", names.METRICS_PORT)],
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
                "env": environment.prepare_env(rendering),
                "ports": [_port("status", names.METRICS_PORT)],
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
        "env": environment.server_env(rendering),
        "ports": [
            _port("grpc", names.GRPC_PORT),
            _port("health", names.HEALTH_PORT),
            _port("metrics", names.METRICS_PORT),
        ],
        "volumeMounts": mounts(rendering, cache_read_only=True),
        "resources": _device_resources(rendering),
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
