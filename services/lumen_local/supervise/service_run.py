"""One service: its init steps to their end, then its replicas, probed, restarted and drained.

The replicas of a service share one cache, so what the init steps do is done once for all of them.
In a pod each replica has its own.
"""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from lumen_local.pod.plans import ServicePlan
from lumen_local.pod.processes import FileToWrite, ProcessSpec
from lumen_local.show import events
from lumen_local.show.log_lines import HeldLines
from lumen_local.supervise.child import (
    RESTARTS,
    Child,
    ChildWatcher,
    Exit,
    failure_of,
    failures_after,
)
from lumen_local.supervise.probes import Health, ProbeResult, fetch_status, side_by_side, watch
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import (
    Failure,
    ProgressReport,
    attestation_of,
    is_named,
    parse_termination,
    progress_of,
    verified_of,
)
from lumen_manifest.routes_document import RouteEndpoint
from lumen_process.addresses import host_port
from lumen_process.backoff import Backoff

# How long the router may take to read the routes file again before a server is told to end.
SPREAD_S = 0.3
PROGRESS_LOOK_S = 0.25
PHASES = {"resources": events.ServicePhase.FETCHING, "prepare": events.ServicePhase.PREPARING}

_PROBED = {
    ProbeResult.NEVER_STARTED: (
        "The server did not begin to serve in the time its startup probe gives."
    ),
    ProbeResult.NOT_ALIVE: "The server stopped answering its liveness probe.",
}


@dataclass(frozen=True, slots=True)
class RunServices:
    """What every process of a run shares."""

    tell: Callable[[events.Event], None]
    watcher: ChildWatcher
    backoff: Backoff = RESTARTS


class Retried:
    """What a service's steps and servers have in common: tried again, later each time."""

    def __init__(self, plan: ServicePlan, index: int, around: RunServices) -> None:
        self.name = plan.name
        self.plan = plan
        self._index = index
        self._around = around
        self._stop = asyncio.Event()
        self._last_failure: Failure | None = None

    def stop(self) -> None:
        """Ask for a drain; `run` returns when it is done."""
        self._stop.set()

    async def _persist(
        self,
        step: str,
        attempt: Callable[[], Awaitable[Failure | None]],
        before_next: Callable[[], None] = lambda: None,
    ) -> bool:
        """Try until it succeeds or is stopped; False when trying again cannot help."""
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            failure = await attempt()
            if failure is None:
                break
            failures = failures_after(failures, time.monotonic() - began)
            retry_s = None if failure.final else self._around.backoff.delay_s(failures)
            self._around.tell(events.Failed(self.name, step, self._index, failure, retry_s))
            if retry_s is None:
                return False
            if await _happened_within(self._stop, retry_s):
                break
            before_next()
        return True

    def _failure_of(self, child: Child, ended: Exit, lines: HeldLines, *, init: bool) -> Failure:
        """Name a failure; of one that has its own name, or repeats itself, the log is dropped."""
        message = parse_termination(child.termination_message())
        failure = failure_of(message, ended, tuple(child.last_lines), init=init)
        if is_named(message) or failure == self._last_failure:
            lines.drop()
        self._last_failure = failure
        return failure

    def _log(self, line: str) -> None:
        self._around.tell(events.LogLine(self.name, line))


class Replica(Retried):
    """Replica n of a service: one running server.

    The only states are where the code stands: waiting to start, loading, ready, draining.
    """

    def __init__(self, plan: ServicePlan, index: int, around: RunServices) -> None:
        super().__init__(plan, index, around)
        self._restarts = 0
        self.killed = False

    async def run(self) -> bool:
        """Keep the server running until `stop`; False when trying again cannot help."""
        return await self._persist("server", self._live, self._restarted)

    def _restarted(self) -> None:
        self._restarts += 1
        self._around.tell(events.Restarted(self.name, self._index, self._restarts))

    async def _live(self) -> Failure | None:
        """Run the process once; None when it was stopped on purpose."""
        pod = self.plan.pod(self._index)
        _write(pod.files)
        lines = HeldLines(self._log, pod.server.env)
        child = Child(pod.server, self._around.watcher, lines.push)
        try:
            async with child, _health_client(self.plan.host) as health:
                self._turn(child)
                self._around.tell(events.Working(self.name, events.ServicePhase.LOADING))
                return await self._attend(child, health, lines)
        except OSError as error:
            return _not_startable(pod.server, error)
        finally:
            self._around.tell(events.EndpointChanged(self.name, self._index, None))

    async def _attend(self, child: Child, health: Health, lines: HeldLines) -> Failure | None:
        async def on_ready(ready: bool) -> None:
            lines.release()
            await self._readiness_turned(child, ready=ready)

        watching = watch(health, child.spec.probes, on_ready)
        try:
            async with side_by_side(child.wait(), watching, self._stop.wait()) as tasks:
                ended, probed, stopped = tasks
                if stopped.done():
                    probed.cancel()  # that it stops being ready is what was asked for
                    self._turn(child, terminating=True)
                    await child.stop()
                    self.killed = child.killed
                    return None
                if ended.done():
                    return self._failure_of(child, ended.result(), lines, init=False)
                finding = probed.result()
                self._turn(child, terminating=True)
                await asyncio.sleep(SPREAD_S)
                await child.stop()
                return Failure(Reason.SERVER_CRASHED, _PROBED[finding])
        finally:
            lines.release()

    async def _readiness_turned(self, child: Child, *, ready: bool) -> None:
        self._turn(child, ready=ready)
        if not ready:
            self._around.tell(events.NotReady(self.name, self._index))
            return
        seconds = time.monotonic() - child.started_at
        port = child.spec.ports.metrics
        said = attestation_of(await fetch_status(self.plan.host, port))
        address = self._address(child)
        self._around.tell(
            events.Ready(self.name, self._index, seconds, address, said, self._restarts, port)
        )

    def _turn(self, child: Child, *, ready: bool = False, terminating: bool = False) -> None:
        endpoint = RouteEndpoint(address=self._address(child), ready=ready, terminating=terminating)
        self._around.tell(events.EndpointChanged(self.name, self._index, endpoint))

    def _address(self, child: Child) -> str:
        return host_port(self.plan.host, child.spec.ports.grpc)


class ServiceRun(Retried):
    """Runs one service until it is stopped or cannot be helped."""

    def __init__(self, plan: ServicePlan, around: RunServices) -> None:
        super().__init__(plan, 0, around)
        self._replicas = [Replica(plan, n, around) for n in range(plan.line.replicas)]

    @property
    def killed(self) -> bool:
        """Return whether a replica had to be killed after its grace period."""
        return any(replica.killed for replica in self._replicas)

    def stop(self) -> None:
        """Ask for a drain; `run` returns when it is done."""
        super().stop()
        for replica in self._replicas:
            replica.stop()

    async def run(self) -> bool:
        """Run to the end; False when nothing of the service can ever serve."""
        for done, step in enumerate(self.plan.pod(0).init):
            if not await self._persist(step.name, partial(self._step, done)):
                return self._stop.is_set()
        results = await asyncio.gather(*(replica.run() for replica in self._replicas))
        return any(results)

    async def _step(self, done: int) -> Failure | None:
        """Run the init step after so many once; None when it succeeded or was stopped."""
        pod = self.plan.pod(0)
        spec = pod.init[done]
        _write(pod.files)
        self._warn_of_secrets(spec)
        self._around.tell(events.Working(self.name, _phase(spec)))
        lines = HeldLines(self._log, spec.env)
        child = Child(spec, self._around.watcher, lines.push)
        try:
            async with child:
                failure = await self._attend(child, lines)
        except OSError as error:
            failure = _not_startable(spec, error)
        return None if self._stop.is_set() else failure

    async def _attend(self, child: Child, lines: HeldLines) -> Failure | None:
        following = self._follow(child.spec)
        async with side_by_side(child.wait(), self._stop.wait(), following) as (_, stopped, _):
            if stopped.done():
                await child.stop()
                return None
        failure, ended = None, await child.wait()
        if ended.code != 0:
            failure = self._failure_of(child, ended, lines, init=True)
        else:
            message = parse_termination(child.termination_message())
            if message.get("reason") == Reason.VERIFIED and "digest" in message:
                seconds = time.monotonic() - child.started_at
                self._around.tell(events.FilesVerified(self.name, verified_of(message), seconds))
        lines.release()
        return failure

    async def _follow(self, spec: ProcessSpec) -> None:
        """Tell of a step's progress whenever it moves."""
        last = ProgressReport()
        while True:
            await asyncio.sleep(PROGRESS_LOOK_S)
            progress = progress_of(await fetch_status(self.plan.host, spec.ports.metrics))
            if progress not in (last, ProgressReport()):
                last = progress
                self._around.tell(events.Working(self.name, _phase(spec), progress))

    def _warn_of_secrets(self, spec: ProcessSpec) -> None:
        if spec.missing_secrets:
            text = (
                "spec.model.source.secretRef names a Secret, and there is no cluster here. "
                f"If the source asks for it, set {' or '.join(spec.missing_secrets)}."
            )
            self._around.tell(events.Warned(self.name, text))


def _phase(spec: ProcessSpec) -> events.ServicePhase:
    return PHASES.get(spec.name, events.ServicePhase.PREPARING)


@asynccontextmanager
async def _health_client(host: str) -> AsyncIterator[Health]:
    """Connect to a pod's health service; imports gRPC at the first call, in a thread."""
    module = await asyncio.to_thread(importlib.import_module, "lumen_local.supervise.grpc_health")
    async with module.HealthClient(host) as client:
        yield client


def _write(files: tuple[FileToWrite, ...]) -> None:
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text, encoding="utf-8")


def _not_startable(spec: ProcessSpec, error: OSError) -> Failure:
    """Name the failure of a program that the system refuses to start."""
    return Failure(
        Reason.PERMISSION_DENIED if isinstance(error, PermissionError) else Reason.UNKNOWN,
        f"{spec.argv[0]} cannot be started: {error.strerror or error}.",
    )


async def _happened_within(event: asyncio.Event, bound_s: float) -> bool:
    """Wait for an event, at most so long; return whether it happened."""
    try:
        await asyncio.wait_for(event.wait(), bound_s)
    except TimeoutError:
        return False
    return True
