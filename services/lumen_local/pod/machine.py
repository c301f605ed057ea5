"""What this machine has: cores, memory, accelerators and so pools; and its free ports."""

import importlib
import importlib.util
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumen_local.errors import NotOurAddress, PoolRefused, PortBusy
from lumen_local.pod.processes import PodPorts
from lumen_manifest.conditions import Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool, default_pool
from lumen_manifest.spec.enums import Accelerator, Runtime
from lumen_process.addresses import NO_SUCH_ADDRESS
from lumen_process.device_tree import COMPATIBLE, compatible, rockchip_chip

# The package that must be importable for a runtime, and the extra that brings it.
PACKAGES = {
    Runtime.ONNX: ("onnxruntime", "onnx"),
    Runtime.TORCH: ("torch", "torch"),
    Runtime.RKNN: ("rknnlite", "rknn"),
}

# What the driver of each accelerator makes; any one of them will do.
DEVICE_NODES = {
    Accelerator.CUDA: ("dev/nvidia0", "dev/nvidiactl", "dev/dxg"),
    Accelerator.ROCM: ("dev/kfd",),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a pool made of this machine may promise.

    `rknn_target` is the Rockchip chip whose files it takes, such as rk3588; empty without one.
    """

    cores: int
    memory_bytes: int
    accelerators: frozenset[Accelerator]
    runtimes: frozenset[Runtime]
    rknn_target: str = ""


def gather_machine(root: Path = Path("/")) -> Machine:
    """Look at this machine; `root` is where its file system begins."""
    chip = rockchip_chip(compatible(root))
    # The accelerator is called after the one of these chips that most boards have.
    npu = {Accelerator.RK3588} if chip else set()
    return Machine(
        cores=_cores(root),
        memory_bytes=_memory_bytes(root),
        accelerators=frozenset({*_accelerators(root), *npu}),
        runtimes=frozenset(
            runtime
            for runtime, (package, _) in PACKAGES.items()
            if importlib.util.find_spec(package) is not None
        ),
        rknn_target=chip,
    )


def _cores(root: Path) -> int:
    """Count the cores this process may use: its affinity, cut by the cgroup's quota."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        usable = os.cpu_count() or 1
    quota, _, period = _read(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        usable = min(usable, -(-int(quota) // int(period)))
    return max(1, usable)


def _memory_bytes(root: Path) -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _read(root / "sys/fs/cgroup/memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _accelerators(root: Path) -> Iterable[Accelerator]:
    yield Accelerator.CPU
    for accelerator, nodes in DEVICE_NODES.items():
        if any((root / node).exists() for node in nodes):
            yield accelerator


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def machine_pools(machine: Machine) -> dict[str, LumenNodePool]:
    """Return the default pools that this machine can stand for, by name."""
    return {pool.name: pool for pool in map(default_pool, sorted(machine.accelerators))}


def choose_pools(
    services: Sequence[LumenModelService],
    declared: Sequence[LumenNodePool],
    machine: Machine,
) -> dict[str, LumenNodePool]:
    """Return the pool of each service by the service's name.

    A pool that the files declare counts when its accelerator is here. Raises PoolRefused for the
    first service that this machine cannot run.
    """
    pools = machine_pools(machine) | {pool.name: pool for pool in declared}
    return {
        service.name: _checked(service, pools, machine)
        for service in services
        if service.spec.pool is not None
    }


def _checked(
    service: LumenModelService, pools: Mapping[str, LumenNodePool], machine: Machine
) -> LumenNodePool:
    name, runtime = service.spec.pool or "", service.spec.model.runtime
    here = ", ".join(sorted(pools))
    pool = pools.get(name)
    if pool is None or pool.spec.accelerator not in machine.accelerators:
        raise PoolRefused(
            Reason.UNKNOWN_POOL,
            f"{service.name} asks for pool {name}, and this machine has {here}. "
            f"{why_absent(name if pool is None else pool.spec.accelerator.value)}"
            f"Set spec.pool to one of these.",
        )
    if runtime not in pool.spec.runtimes:
        raise PoolRefused(
            Reason.RUNTIME_NOT_ON_POOL,
            f"{service.name} asks for runtime {runtime}, which pool {name} does not run. "
            f"Choose one of {', '.join(pool.spec.runtimes)}.",
        )
    if runtime not in machine.runtimes:
        package, extra = PACKAGES[runtime]
        raise PoolRefused(
            Reason.RUNTIME_NOT_ON_POOL,
            f"{service.name} asks for runtime {runtime}, and the package {package} is not "
            f"installed here. Install it with: pip install 'lumen-serve[{extra}]'",
        )
    return pool


def why_absent(accelerator: str) -> str:
    """Say what this machine shows of an accelerator that it lacks, a space after it, or ""."""
    if accelerator in DEVICE_NODES:
        node = DEVICE_NODES[Accelerator(accelerator)][0]
        return f"There is no /{node}: is the driver loaded? "
    if accelerator == Accelerator.RK3588:
        return (
            f"/{COMPATIBLE} names no Rockchip chip with an NPU: run this on the board "
            "(`lumen export` converts models elsewhere). "
        )
    return ""


_ADDRESSES = "Use 127.0.0.1 for callers on this machine, or 0.0.0.0 for those on others too."


class FreePorts:
    """Hands out free ports, none twice in a run.

    Between this look and the server's own bind somebody else may take a port: the server then ends,
    and its next start gets fresh ones.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._given: set[int] = set()

    def take(self, grpc: int | None = None) -> PodPorts:
        """Return three different free ports; `grpc` fixes the first."""
        return PodPorts(grpc=grpc or self._one(), health=self._one(), metrics=self._one())

    def reserve(self, port: int) -> None:
        """Never hand out this port."""
        self._given.add(port)

    def _one(self) -> int:
        while True:
            with socket.socket(_family(self._host)) as probe:
                probe.bind((self._host, 0))
                port = int(probe.getsockname()[1])
            if port not in self._given:
                self._given.add(port)
                return port


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    with socket.socket(_family(host)) as probe:
        try:
            _listen(probe, host, port)
        except OSError:
            return False
        return True


def check_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0. Raises NotOurAddress or PortBusy with what to do."""
    if not host:
        raise NotOurAddress(f"The address to listen on is empty. {_ADDRESSES}")
    with socket.socket(_family(host)) as probe:
        try:
            _listen(probe, host, port)
        except PermissionError:
            raise PortBusy(
                f"Port {port} needs privileges. Use one above 1023: --port 50051"
            ) from None
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno in NO_SUCH_ADDRESS:
                raise NotOurAddress(f"This machine has no address {host}. {_ADDRESSES}") from error
            holder = _holder(port)
            raise PortBusy(
                f"Port {port} on {host} cannot be used: "
                + (
                    f"{holder} listens there. Stop it, or "
                    if holder
                    else f"{error.strerror}. You can "
                )
                + f"choose another port: --port {port + 1 if port < 65535 else port - 1}"
            ) from error
        return int(probe.getsockname()[1])


def _listen(probe: socket.socket, host: str, port: int) -> None:
    """Listen as a server would; raises OSError when it could not.

    gRPC binds with SO_REUSEPORT, which would let two servers share a port in silence; this bind
    does without, so that it fails. SO_REUSEADDR only forgives closed connections.
    """
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((host, port))
    probe.listen(1)


def _holder(port: int) -> str:
    """Say who listens on the port, as far as this user may know."""
    # Only a refusal needs it: a tenth of a second that a good start does not pay.
    psutil: Any = importlib.import_module("psutil")
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return "another program"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port:
            return _process_name(psutil, connection.pid)
    return ""


def _process_name(psutil: Any, pid: int | None) -> str:
    if pid is None:
        return "another user's program"
    try:
        return f"{' '.join(psutil.Process(pid).cmdline()[:4])} (pid {pid})"
    except psutil.Error:
        return f"process {pid}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
