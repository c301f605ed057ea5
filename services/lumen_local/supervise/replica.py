"""One running server: started, probed, restarted with back-off, drained.

The only states are where the code stands: waiting to start, loading, ready, draining.
"""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lumen_local.pod.processes import FileToWrite, PodProcesses, ProcessSpec
from lumen_local.show.events import (
    Event,
    Failed,
    LogLine,
    NotReady,
    Ready,
    Restarted,
    ServiceLine,
    ServicePhase,
    Working,
)
from lumen_local.show.held_lines import HeldLines
from lumen_local.supervise.child import Child, ChildWatcher
from lumen_local.supervise.failures import RESTARTS, failure_of, failures_after
from lumen_local.supervise.probes import Health, ProbeResult, watch
from lumen_local.supervise.status_page import fetch_status
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import Failure, attestation_of, is_named, parse_termination
from lumen_process.addresses import host_port
from lumen_process.backoff import Backoff

# How long the router may take to read the routes file again before a server is told to end.
SPREAD_S = 0.3


class EndpointRegistry(Protocol):
    """Who tells the router which servers there are; calls take effect before they return."""

    def started(self, service: str, replica: int, address: str) -> None:
        """A server loads at this address."""

    def ready(self, service: str, replica: int, *, ready: bool) -> None:
        """A server's readiness turned."""

    def terminating(self, service: str, replica: int) -> None:
        """A server is about to be told to end."""

    def gone(self, service: str, replica: int) -> None:
        """A server has ended."""


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
class RunServices:
    """What every process of a run shares."""

    tell: Callable[[Event], None]
    roster: EndpointRegistry
    watcher: ChildWatcher
    backoff: Backoff = RESTARTS


class Replica:
    """Replica n of a service."""

    def __init__(self, plan: ServicePlan, index: int, around: RunServices) -> None:
        self._plan = plan
        self._index = index
        self._around = around
        self._stop = asyncio.Event()
        self._restarts = 0
        self._last_failure: Failure | None = None
        self.killed = False

    def stop(self) -> None:
        """Ask for a drain; `run` returns when it is done."""
        self._stop.set()

    async def run(self) -> bool:
        """Keep the server running until `stop`; False when trying again cannot help."""
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            failure = await self._live()
            if failure is None:
                break
            failures = failures_after(failures, time.monotonic() - began)
            retry_s = None if failure.final else self._around.backoff.delay_s(failures)
            self._around.tell(Failed(self._plan.name, "server", self._index, failure, retry_s))
            if retry_s is None:
                return False
            if await happened_within(self._stop, retry_s):
                break
            self._restarts += 1
            self._around.tell(Restarted(self._plan.name, self._index, self._restarts))
        return True

    async def _live(self) -> Failure | None:
        """Run the process once; None when it was stopped on purpose."""
        pod = self._plan.pod(self._index)
        write_files(pod.files)
        lines = HeldLines(self._log, pod.server.env)
        child = Child(pod.server, self._around.watcher, lines.push)
        try:
            async with child, health_client(self._plan.host) as health:
                address = host_port(self._plan.host, pod.server.ports.grpc)
                self._around.roster.started(self._plan.name, self._index, address)
                self._around.tell(Working(self._plan.name, ServicePhase.LOADING))
                return await self._attend(child, health, lines)
        except OSError as error:
            return not_startable(pod.server, error)
        finally:
            self._around.roster.gone(self._plan.name, self._index)

    async def _attend(self, child: Child, health: Health, lines: HeldLines) -> Failure | None:
        async def on_ready(ready: bool) -> None:
            lines.release()
            await self._readiness_turned(child, ready=ready)

        ended = asyncio.create_task(child.wait())
        probed = asyncio.create_task(watch(health, child.spec.probes, on_ready))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({ended, probed, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                probed.cancel()  # that it stops being ready is what was asked for
                await self._drain(child)
                return None
            if ended.done():
                message = parse_termination(child.termination_message())
                failure = failure_of(message, ended.result(), tuple(child.last_lines), init=False)
                if is_named(message) or failure == self._last_failure:
                    lines.drop()
                self._last_failure = failure
                return failure
            finding = probed.result()
            self._around.roster.terminating(self._plan.name, self._index)
            await asyncio.sleep(SPREAD_S)
            await child.stop()
            return Failure(Reason.SERVER_CRASHED, _PROBED[finding])
        finally:
            for task in (ended, probed, stopped):
                task.cancel()
            await asyncio.gather(ended, probed, stopped, return_exceptions=True)
            lines.release()

    async def _readiness_turned(self, child: Child, *, ready: bool) -> None:
        name, ports = self._plan.name, child.spec.ports
        self._around.roster.ready(name, self._index, ready=ready)
        if not ready:
            self._around.tell(NotReady(name, self._index))
            return
        seconds = time.monotonic() - child.started_at
        attestation = attestation_of(await fetch_status(self._plan.host, ports.metrics))
        address = host_port(self._plan.host, ports.grpc)
        self._around.tell(
            Ready(name, self._index, seconds, address, attestation, self._restarts, ports.metrics)
        )

    async def _drain(self, child: Child) -> None:
        self._around.roster.terminating(self._plan.name, self._index)
        await child.stop()
        self.killed = child.killed

    def _log(self, line: str) -> None:
        self._around.tell(LogLine(self._plan.name, line))


_PROBED = {
    ProbeResult.NEVER_STARTED: (
        "The server did not begin to serve in the time its startup probe gives."
    ),
    ProbeResult.NOT_ALIVE: "The server stopped answering its liveness probe.",
}


@asynccontextmanager
async def health_client(host: str) -> AsyncIterator[Health]:
    """Connect to a pod's health service; imports gRPC at the first call, in a thread."""
    module = await asyncio.to_thread(importlib.import_module, "lumen_local.supervise.grpc_health")
    async with module.HealthClient(host) as client:
        yield client


def write_files(files: tuple[FileToWrite, ...]) -> None:
    """Write a pod's files; the folders are made."""
    for file in files:
        Path(file.path.parent).mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text, encoding="utf-8")


def not_startable(spec: ProcessSpec, error: OSError) -> Failure:
    """Name the failure of a program that the system refuses to start."""
    return Failure(
        Reason.PERMISSION_DENIED if isinstance(error, PermissionError) else Reason.UNKNOWN,
        f"{spec.argv[0]} cannot be started: {error.strerror or error}.",
    )


async def happened_within(event: asyncio.Event, bound_s: float) -> bool:
    """Wait for an event, at most so long; return whether it happened."""
    try:
        await asyncio.wait_for(event.wait(), bound_s)
    except TimeoutError:
        return False
    return True
