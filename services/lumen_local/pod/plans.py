"""From manifests to what the supervisor runs: a plan per service, and one for the router."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lumen_local.pod.machine import FreePorts, is_free
from lumen_local.pod.processes import (
    PodPaths,
    PodProcesses,
    Probe,
    Probes,
    ProcessSpec,
    contract_env,
    inherited_env,
    pod_processes,
)
from lumen_local.show.events import ROUTER, ServiceLine
from lumen_local.state_dir import RunFolders
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import HEALTH_SERVICE, LIVENESS_SERVICE, METRICS_PORT
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render import RenderContext, render
from lumen_process.addresses import host_port

LOOPBACK = "127.0.0.1"

ROUTER_GRACE_S = 30.0
ROUTER_PROBE_S = 5.0


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What to run for one service; `pod` renders replica n anew, with fresh ports."""

    line: ServiceLine
    host: str
    pod: Callable[[int], PodProcesses]

    @property
    def name(self) -> str:
        """Return the service's name."""
        return self.line.name


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all plans of a run stand on."""

    folders: RunFolders
    ports: FreePorts
    log_level: str | None
    shell: Mapping[str, str]

    def places(self, pod: str, source: Path, bind: str) -> PodPaths:
        """Return the places of one pod."""
        return PodPaths(
            pod_name=pod,
            pod_dir=self.folders.pod(pod),
            cache_dir=self.folders.cache,
            source_dir=source,
            bind=bind,
            python=sys.executable,
            parent_pid=os.getpid(),
            run_id=self.folders.run_id,
            log_level=self.log_level,
            inherited=self.shell,
        )


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """The address that callers use.

    `status_port` is where a cluster's operator asks a server outside the cluster (spec.external).
    """

    bind: str
    port: int
    status_port: int = METRICS_PORT

    @property
    def host(self) -> str:
        """Return an address of this machine that reaches the door."""
        wildcards = {"0.0.0.0": LOOPBACK, "::": "::1"}
        return wildcards.get(self.bind, self.bind)

    @property
    def address(self) -> str:
        """Return host:port."""
        return host_port(self.host, self.port)

    def shows_status(self) -> bool:
        """Tell whether a status page can be where an operator looks for it."""
        return self.status_port != self.port and is_free(self.bind, self.status_port)


@dataclass(frozen=True, slots=True)
class Planned:
    """A service, the pool that this machine stands for, and where relative sources begin."""

    service: LumenModelService
    pool: LumenNodePool
    source: Path
    context: RenderContext = RenderContext()  # noqa: RUF009 - frozen, so it may be shared


def service_plan(
    planned: Planned, ground: RunContext, door: RouterPlan | None = None
) -> ServicePlan:
    """Plan one service; with a door it is the only one, and listens there itself.

    Its status page is then where an operator looks for it, unless another program is there.
    """
    service = planned.service
    children = render(service, planned.pool, context=planned.context)
    host = LOOPBACK if door is None else door.host

    def pod(replica: int) -> PodProcesses:
        ports = ground.ports.take(None if door is None else door.port)
        if door is not None and door.shows_status():
            ports = replace(ports, metrics=door.status_port)
        bind = LOOPBACK if door is None else door.bind
        places = ground.places(f"{service.name}-{replica}", planned.source, bind)
        return pod_processes(children.deployments[0], (children.config_map,), ports, places)

    line = ServiceLine(
        name=service.name,
        runtime=service.spec.model.runtime,
        accelerator=planned.pool.spec.accelerator,
        replicas=service.spec.replicas,
    )
    return ServicePlan(line, host, pod)


def router_plan(ground: RunContext, door: RouterPlan) -> ServicePlan:
    """Plan the router: rendered by nobody, since on a cluster the chart has its Deployment."""

    def pod(replica: int) -> PodProcesses:
        del replica
        return PodProcesses((), (), router_process(ground, door))

    return ServicePlan(ServiceLine(ROUTER, "", ""), door.host, pod)


def router_process(ground: RunContext, door: RouterPlan) -> ProcessSpec:
    """Return the router's process, with fresh ports but for its door."""
    ports = ground.ports.take(door.port)
    places = ground.places(ROUTER, ground.folders.run, door.bind)
    log = places.pod_dir / "router.termination"
    return ProcessSpec(
        name="server",
        argv=(places.python, "-m", "lumen_router"),
        env={
            **inherited_env(places.inherited),
            **contract_env(ports, places, log, None),
            "LUMEN_ROUTES_FILE": str(ground.folders.routes_file),
        },
        cwd=places.pod_dir,
        ports=ports,
        termination_log=log,
        probes=_router_probes(ports.health),
        grace_s=ROUTER_GRACE_S,
    )


def _router_probes(port: int) -> Probes:
    alive = Probe(port, LIVENESS_SERVICE, period_s=ROUTER_PROBE_S, timeout_s=ROUTER_PROBE_S)
    return Probes(
        startup=replace(alive, failure_threshold=12),
        readiness=Probe(port, HEALTH_SERVICE, period_s=1.0, timeout_s=ROUTER_PROBE_S),
        liveness=alive,
    )
