"""A rendered pod as local processes: pure, so that it is tested without starting anything.

Called by the supervisor before every start, because each start gets fresh ports.
It reads the pod template that `lumen_manifest.render` writes for Kubernetes and replaces what two
pods on one machine cannot share, or a node would tell them: ports, mount paths, the termination
log, fields, limits.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lumen_local.errors import PodNotRunnable
from lumen_manifest.names import CACHE_LIMIT_ENV
from lumen_manifest.spec.field_types import amount_of

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
    # Nobody is evicted here: the disk is the limit.
    plain.pop(CACHE_LIMIT_ENV, None)
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
    if key == "cpu" and (cores := amount_of(str(limits.get(key, "")))) is not None:
        plain[name] = str(max(1, math.ceil(cores)))  # as the downward API rounds


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


DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class FileToWrite:
    """A file that must exist before the pod's processes start."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A gRPC probe: the kubelet's fields, in seconds and counts."""

    port: int
    service: str
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    failure_threshold: int = 3
    success_threshold: int = 1


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of a server; None where the pod names none."""

    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to start: everything the operating system needs to be told."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    ports: PodPorts
    termination_log: Path
    probes: Probes = Probes()
    grace_s: float = DEFAULT_GRACE_S
    secrets: tuple[str, ...] = ()

    @property
    def missing_secrets(self) -> tuple[str, ...]:
        """Return the variables a cluster's Secret may give, when this machine gives none."""
        return () if any(name in self.env for name in self.secrets) else self.secrets


@dataclass(frozen=True, slots=True)
class PodProcesses:
    """A pod, ready to start: first the files, then `init` one after the other, then `server`."""

    files: tuple[FileToWrite, ...]
    init: tuple[ProcessSpec, ...]
    server: ProcessSpec


def pod_processes(
    deployment: Mapping[str, Any],
    config_maps: Sequence[Mapping[str, Any]],
    ports: PodPorts,
    places: PodPaths,
) -> PodProcesses:
    """Translate a rendered Deployment into processes.

    Raises PodNotRunnable when the pod has not exactly one server, or uses a probe or a reference
    that only a cluster can honour.
    """
    pod = deployment["spec"]["template"]["spec"]
    containers = pod["containers"]
    if len(containers) != 1:
        raise PodNotRunnable(
            f"Pod {places.pod_name} has {len(containers)} containers; one server is expected."
        )
    folders = volume_folders(pod, places)
    grace_s = float(pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S))
    specs = [
        _process(container, folders, ports, places, grace_s)
        for container in (*pod.get("initContainers", ()), *containers)
    ]
    files = tuple(_config_files(pod, config_maps, folders))
    return PodProcesses(files=files, init=tuple(specs[:-1]), server=specs[-1])


def volume_folders(pod: Mapping[str, Any], places: PodPaths) -> dict[str, Path]:
    """Give every volume of the pod a folder, by the volume's name.

    Volumes of no kind that is known here get an empty folder too: the paths that matter (cache,
    source, settings) are replaced by the name of their variable.
    """
    return {
        volume["name"]: places.pod_dir / "volumes" / volume["name"]
        for volume in pod.get("volumes", ())
    }


def _config_files(
    pod: Mapping[str, Any],
    config_maps: Sequence[Mapping[str, Any]],
    folders: Mapping[str, Path],
) -> Iterator[FileToWrite]:
    data = {m["metadata"]["name"]: m.get("data", {}) for m in config_maps}
    for volume in pod.get("volumes", ()):
        source = volume.get("configMap")
        if source is None:
            continue
        if source["name"] not in data:
            raise PodNotRunnable(f"Volume {volume['name']} names no rendered ConfigMap.")
        for key, text in data[source["name"]].items():
            yield FileToWrite(folders[volume["name"]] / key, text)


def _process(
    container: Mapping[str, Any],
    folders: Mapping[str, Path],
    ports: PodPorts,
    places: PodPaths,
    grace_s: float,
) -> ProcessSpec:
    name = container["name"]
    argv = (*container.get("command", ()), *container.get("args", ()))
    if not argv:
        raise PodNotRunnable(f"Container {name} of pod {places.pod_name} has no command.")
    termination_log = places.pod_dir / f"{name}.termination"
    declared, secrets = declared_env(container, places)
    env = container_env(declared, mounted(container, folders), ports, places, termination_log)
    return ProcessSpec(
        name=name,
        argv=(places.python if argv[0] == "python3" else argv[0], *argv[1:]),
        env=env,
        cwd=places.pod_dir,
        ports=ports,
        termination_log=termination_log,
        probes=_probes(container, _port_map(declared, ports)),
        grace_s=grace_s,
        secrets=secrets,
    )


def _port_map(declared: Mapping[str, str], ports: PodPorts) -> dict[int, int]:
    """Return the pod's port numbers -> this machine's."""
    local = {
        "LUMEN_GRPC_PORT": (50051, ports.grpc),
        "LUMEN_HEALTH_PORT": (50052, ports.health),
        "LUMEN_METRICS_PORT": (9090, ports.metrics),
    }
    return {int(declared.get(name, default)): port for name, (default, port) in local.items()}


def _probes(container: Mapping[str, Any], port_map: Mapping[int, int]) -> Probes:
    found = {
        kind: _probe(container[f"{kind}Probe"], port_map, f"{container['name']}.{kind}Probe")
        for kind in ("startup", "readiness", "liveness")
        if f"{kind}Probe" in container
    }
    return Probes(**found)


def _probe(probe: Mapping[str, Any], port_map: Mapping[int, int], where: str) -> Probe:
    grpc = probe.get("grpc")
    if grpc is None:
        raise PodNotRunnable(f"{where}: only gRPC probes are honoured on one machine.")
    port = int(grpc["port"])
    return Probe(
        port=port_map.get(port, port),
        service=grpc.get("service", ""),
        initial_delay_s=float(probe.get("initialDelaySeconds", 0)),
        period_s=float(probe.get("periodSeconds", 10)),
        timeout_s=float(probe.get("timeoutSeconds", 1)),
        failure_threshold=int(probe.get("failureThreshold", 3)),
        success_threshold=int(probe.get("successThreshold", 1)),
    )
