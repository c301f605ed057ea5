"""The environment of a pod's process on one machine. Pure.

What a pod is told by its node (ports, mount paths, fields, limits) is told anew here, since two
pods of one machine cannot share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lumen_local.errors import PodNotRunnable
from lumen_local.pod.quantities import whole_cores

# Variables of the process contract that a user's shell must not leak into a server.
# The source's credentials are the exception: locally they come from the shell.
OURS = "LUMEN_"
CREDENTIALS = "LUMEN_SOURCE_"


@dataclass(frozen=True, slots=True)
class PodPorts:
    """Free ports of this machine for one pod."""

    grpc: int
    health: int
    metrics: int


@dataclass(frozen=True, slots=True)
class PodPaths:
    """What a local pod gets instead of a node: folders, an address, an identity."""

    pod_name: str
    pod_dir: Path
    cache_dir: Path
    source_dir: Path
    bind: str
    python: str
    parent_pid: int
    run_id: str
    log_level: str | None
    inherited: Mapping[str, str]


def mounted(container: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[PurePosixPath, Path]:
    """Return mount path -> local folder, the deepest mount first."""
    found = {
        PurePosixPath(mount["mountPath"]): folders[mount["name"]] / mount.get("subPath", "")
        for mount in container.get("volumeMounts", ())
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[0].parts)))


def declared_env(
    container: Mapping[str, Any], places: PodPaths
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the container's variables as text, and the names that come from a Secret."""
    plain: dict[str, str] = {}
    secrets: list[str] = []
    for entry in container.get("env", ()):
        name, source = entry["name"], entry.get("valueFrom")
        if source is None:
            plain[name] = str(entry.get("value", ""))
        elif "secretKeyRef" in source:
            secrets.append(name)
        elif "fieldRef" in source:
            plain[name] = _field(source["fieldRef"]["fieldPath"], places)
        elif "resourceFieldRef" in source:
            _declare_limit(plain, name, source["resourceFieldRef"], container)
        elif not source.get("configMapKeyRef", {}).get("optional"):
            raise PodNotRunnable(f"{name}: {', '.join(source)} exists only in a cluster.")
    # A pod has no home; here the person's own holds the hub's login and certificates.
    plain.pop("HOME", None)
    return plain, tuple(secrets)


def _field(path: str, places: PodPaths) -> str:
    known = {
        "metadata.name": places.pod_name,
        "metadata.namespace": "default",
        "metadata.uid": places.run_id,
        "spec.nodeName": "localhost",
        "status.podIP": places.bind,
        "status.hostIP": places.bind,
    }
    return known.get(path, "")


def _declare_limit(
    plain: dict[str, str],
    name: str,
    ref: Mapping[str, Any],
    container: Mapping[str, Any],
) -> None:
    """Declare a limit only when the manifest set one.

    Without a limit Kubernetes answers with the node's size; a server that finds no variable looks
    at its affinity and cgroup itself, which is the better answer on a machine shared with others.
    """
    limits = container.get("resources", {}).get("limits", {})
    key = str(ref["resource"]).removeprefix("limits.")
    if key == "cpu" and key in limits:
        plain[name] = str(whole_cores(str(limits[key])))


def container_env(
    declared: Mapping[str, str],
    mounts: Mapping[PurePosixPath, Path],
    ports: PodPorts,
    places: PodPaths,
    termination_log: Path,
) -> dict[str, str]:
    """Return the whole environment: the shell's, the pod's, and above both this machine's."""
    env = inherited_env(places.inherited)
    env |= {name: _local_path(value, mounts) for name, value in declared.items()}
    env |= {
        "LUMEN_CACHE_DIR": str(places.cache_dir),
        "LUMEN_SOURCE_DIR": str(places.source_dir),
    }
    return env | contract_env(ports, places, termination_log, env.get("LUMEN_LOG_LEVEL"))


def inherited_env(shell: Mapping[str, str]) -> dict[str, str]:
    """Return the shell's variables that a process keeps: all but our own contract's."""
    return {
        name: value
        for name, value in shell.items()
        if not name.startswith(OURS) or name.startswith(CREDENTIALS)
    }


def contract_env(
    ports: PodPorts, places: PodPaths, termination_log: Path, level: str | None
) -> dict[str, str]:
    """Return the variables that every local process gets, whatever its pod says.

    Drain delay 0: the routes file reaches the router before SIGTERM does, nothing has to spread.
    Level `info`, the default of manifests, becomes `warning`: the terminal shows what needs
    attention, and `--log-level` shows the rest.
    """
    return {
        "LUMEN_GRPC_PORT": str(ports.grpc),
        "LUMEN_HEALTH_PORT": str(ports.health),
        "LUMEN_METRICS_PORT": str(ports.metrics),
        "LUMEN_BIND": places.bind,
        "LUMEN_DRAIN_DELAY_S": "0",
        "LUMEN_LOG_FORMAT": "console",
        "LUMEN_LOG_LEVEL": places.log_level or ("warning" if level in {None, "info"} else level),
        "LUMEN_PARENT_PID": str(places.parent_pid),
        "LUMEN_RUN_ID": places.run_id,
        "LUMEN_TERMINATION_LOG": str(termination_log),
        "PYTHONUNBUFFERED": "1",
    }


def _local_path(value: str, mounts: Mapping[PurePosixPath, Path]) -> str:
    if not value.startswith("/"):
        return value
    path = PurePosixPath(value)
    for mount, folder in mounts.items():
        if path.is_relative_to(mount):
            return str(folder / path.relative_to(mount))
    return value
