"""What this machine has: cores, memory, accelerators; and so which pools it stands for."""

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumen_local.errors import PoolRefused
from lumen_manifest.conditions import Reason
from lumen_manifest.default_pools import default_pool
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.spec.enums import Accelerator, Runtime

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
DEVICE_TREE = "proc/device-tree/compatible"
RK3588_NAME = b"rockchip,rk3588"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a pool made of this machine may promise."""

    cores: int
    memory_bytes: int
    accelerators: frozenset[Accelerator]
    runtimes: frozenset[Runtime]


def gather_machine(root: Path = Path("/")) -> Machine:
    """Look at this machine; `root` is where its file system begins."""
    return Machine(
        cores=_cores(root),
        memory_bytes=_memory_bytes(root),
        accelerators=frozenset(_accelerators(root)),
        runtimes=frozenset(
            runtime
            for runtime, (package, _) in PACKAGES.items()
            if importlib.util.find_spec(package) is not None
        ),
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
    if RK3588_NAME in _read(root / DEVICE_TREE).encode():
        yield Accelerator.RK3588


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
            f"{_why_absent(name if pool is None else pool.spec.accelerator.value)}"
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


def _why_absent(accelerator: str) -> str:
    if accelerator in DEVICE_NODES:
        node = DEVICE_NODES[Accelerator(accelerator)][0]
        return f"There is no /{node}: is the driver loaded? "
    if accelerator == Accelerator.RK3588:
        return f"/{DEVICE_TREE} does not name an RK3588. "
    return ""
