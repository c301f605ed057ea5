"""`lumen up`: the services of some manifests, and a router in front, as processes of this machine.

A service whose failure cannot heal (a damaged file, a bad model info) is shown with its remedy, and
the others go on; when none is left the run ends with exit code 1.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumen_local.display import Display
from lumen_local.free_ports import FreePorts, check_port
from lumen_local.machine import Machine, choose_pools, gather_machine
from lumen_local.manifests import Manifests, read_manifests
from lumen_local.plans import LOOPBACK, Door, Ground, router_plan, service_plan
from lumen_local.quantities import memory_bytes
from lumen_local.run import RunPlan, run
from lumen_local.state_dir import open_run
from lumen_local.wording import size
from lumen_manifest.model_service import LumenModelService


@dataclass(frozen=True, slots=True)
class UpSettings:
    """What the command line says."""

    files: Sequence[str]
    port: int
    bind: str
    state_dir: Path
    cache_dir: Path
    log_level: str | None


def up(settings: UpSettings, display: Display) -> int:
    """Run the manifests until a signal; return the exit code.

    Raises ManifestError or LocalError when the start is refused; nothing has been started then.
    """
    return run_manifests(read_manifests(settings.files), settings, display)


def run_manifests(manifests: Manifests, settings: UpSettings, display: Display) -> int:
    """Run what was read; `lumen serve` comes in here with manifests of its own making."""
    machine = gather_machine()
    pools = choose_pools(manifests.services, manifests.pools, machine)
    door = Door(settings.bind, check_port(settings.bind, settings.port))
    with open_run(settings.state_dir, settings.cache_dir) as folders:
        ports = FreePorts(LOOPBACK)
        ports.reserve(door.port)
        ground = Ground(folders, ports, settings.log_level, dict(os.environ))
        plan = RunPlan(
            services=manifests.services,
            plans=[
                service_plan(service, pools[service.name], manifests.folders[service.name], ground)
                for service in manifests.services
                if service.name in pools and service.spec.replicas > 0
            ],
            router=router_plan(ground, door),
            address=door.address,
            folders=folders,
            warnings=list(_warnings(manifests.services, machine)),
        )
        return run(plan, display)


def _warnings(services: Sequence[LumenModelService], machine: Machine) -> Iterator[tuple[str, str]]:
    for service in services:
        if service.spec.replicas == 0 and service.spec.external is None:
            yield service.name, "spec.replicas is 0: it is not started."
        asked = memory_bytes(service.spec.resources.requests.get("memory", "0"))
        if asked * service.spec.replicas > machine.memory_bytes:
            text = (
                f"asks for {size(asked * service.spec.replicas)} of memory, and this machine has "
                f"{size(machine.memory_bytes)}: it may be killed while it loads."
            )
            yield service.name, text
