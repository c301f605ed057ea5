"""From planned services to a run: port, folders, plans. The way that `up` and `serve` share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumen_local.pod.free_ports import FreePorts, check_port
from lumen_local.pod.plans import (
    LOOPBACK,
    Planned,
    RouterPlan,
    RunContext,
    router_plan,
    service_plan,
)
from lumen_local.run import RunPlan, run
from lumen_local.show.display import Display
from lumen_local.state_dir import open_run
from lumen_manifest.model_service import LumenModelService


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """What the command line says of every run; `command` runs beside it and ends it."""

    port: int
    bind: str
    state_dir: Path
    cache_dir: Path
    log_level: str | None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run: all services for the router to know, and those of them that run here.

    `direct` lets the one planned service listen on the port itself, without a router.
    """

    services: Sequence[LumenModelService]
    planned: Sequence[Planned]
    warnings: Sequence[tuple[str, str]] = ()
    direct: bool = False


def launch(what: Launch, settings: LaunchSettings, display: Display) -> int:
    """Run until a signal; return the exit code. Raises LocalError when the start is refused."""
    bind = settings.bind.strip("[]")
    door = RouterPlan(bind, check_port(bind, settings.port))
    with open_run(settings.state_dir, settings.cache_dir) as folders:
        ports = FreePorts(LOOPBACK)
        ports.reserve(door.port)
        ground = RunContext(folders, ports, settings.log_level, dict(os.environ))
        own_door = door if what.direct else None
        plan = RunPlan(
            services=what.services,
            plans=[service_plan(planned, ground, own_door) for planned in what.planned],
            router=None if what.direct else router_plan(ground, door),
            address=door.address,
            folders=folders,
            warnings=what.warnings,
            command=settings.command,
        )
        return run(plan, display)
