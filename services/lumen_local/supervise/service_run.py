"""One service: its init steps to their end, then its replicas.

The replicas of a service share one cache, so what the init steps do is done once for all of them.
In a pod each replica has its own.
"""

import asyncio
import time

from lumen_local.pod.processes import ProcessSpec
from lumen_local.show.events import Failed, FilesVerified, LogLine, ServicePhase, Warned, Working
from lumen_local.show.held_lines import HeldLines
from lumen_local.supervise.child import Child
from lumen_local.supervise.failures import failure_of, failures_after
from lumen_local.supervise.replica import (
    Replica,
    RunServices,
    ServicePlan,
    happened_within,
    not_startable,
    write_files,
)
from lumen_local.supervise.status_page import fetch_status
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import (
    Failure,
    ProgressReport,
    is_named,
    parse_termination,
    progress_of,
    verified_of,
)

PROGRESS_LOOK_S = 0.25
PHASES = {"resources": ServicePhase.FETCHING, "prepare": ServicePhase.PREPARING}


class ServiceRun:
    """Runs one service until it is stopped or cannot be helped."""

    def __init__(self, plan: ServicePlan, around: RunServices) -> None:
        self._plan = plan
        self._around = around
        self._stop = asyncio.Event()
        self._last_failure: Failure | None = None
        self._replicas = [Replica(plan, n, around) for n in range(plan.line.replicas)]

    @property
    def name(self) -> str:
        """Return the service's name."""
        return self._plan.name

    @property
    def killed(self) -> bool:
        """Return whether a replica had to be killed after its grace period."""
        return any(replica.killed for replica in self._replicas)

    def stop(self) -> None:
        """Ask for a drain; `run` returns when it is done."""
        self._stop.set()
        for replica in self._replicas:
            replica.stop()

    async def run(self) -> bool:
        """Run to the end; False when nothing of the service can ever serve."""
        if not await self._initialise():
            return self._stop.is_set()
        results = await asyncio.gather(*(replica.run() for replica in self._replicas))
        return any(results)

    async def _initialise(self) -> bool:
        """Run the init steps, again after what may heal; False when stopped or hopeless."""
        failures, done = 0, 0
        while not self._stop.is_set():
            pod = self._plan.pod(0)
            if done == len(pod.init):
                return True
            write_files(pod.files)
            spec = pod.init[done]
            began = time.monotonic()
            failure = await self._step(spec)
            if self._stop.is_set():
                return False
            if failure is None:
                failures, done = 0, done + 1
                continue
            failures = failures_after(failures, time.monotonic() - began)
            retry_s = None if failure.final else self._around.backoff.delay_s(failures)
            self._around.tell(Failed(self._plan.name, spec.name, 0, failure, retry_s))
            if retry_s is None or await happened_within(self._stop, retry_s):
                return False
        return False

    async def _step(self, spec: ProcessSpec) -> Failure | None:
        """Run one init step once; None when it succeeded or was stopped."""
        self._warn_of_secrets(spec)
        self._around.tell(Working(self._plan.name, _phase(spec)))
        lines = HeldLines(self._log, spec.env)
        child = Child(spec, self._around.watcher, lines.push)
        try:
            async with child:
                return await self._attend(child, lines)
        except OSError as error:
            return not_startable(spec, error)

    async def _attend(self, child: Child, lines: HeldLines) -> Failure | None:
        ended = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stop.wait())
        followed = asyncio.create_task(self._follow(child.spec))
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                await child.stop()
                return None
        finally:
            for task in (ended, stopped, followed):
                task.cancel()
            await asyncio.gather(ended, stopped, followed, return_exceptions=True)
        message, how = parse_termination(child.termination_message()), await child.wait()
        failure = None
        if how.code != 0:
            failure = failure_of(message, how, tuple(child.last_lines), init=True)
            if is_named(message) or failure == self._last_failure:
                lines.drop()
            self._last_failure = failure
        elif message.get("reason") == Reason.VERIFIED and "digest" in message:
            seconds = time.monotonic() - child.started_at
            self._around.tell(FilesVerified(self._plan.name, verified_of(message), seconds))
        lines.release()
        return failure

    async def _follow(self, spec: ProcessSpec) -> None:
        """Tell of a step's progress whenever it moves."""
        last = ProgressReport()
        while True:
            await asyncio.sleep(PROGRESS_LOOK_S)
            progress = progress_of(await fetch_status(self._plan.host, spec.ports.metrics))
            if progress not in (last, ProgressReport()):
                last = progress
                self._around.tell(Working(self._plan.name, _phase(spec), progress))

    def _warn_of_secrets(self, spec: ProcessSpec) -> None:
        if spec.missing_secrets:
            self._around.tell(
                Warned(
                    self._plan.name,
                    "spec.model.source.secretRef names a Secret, and there is no cluster here. "
                    f"If the source asks for it, set {' or '.join(spec.missing_secrets)}.",
                )
            )

    def _log(self, line: str) -> None:
        self._around.tell(LogLine(self._plan.name, line))


def _phase(spec: ProcessSpec) -> ServicePhase:
    return PHASES.get(spec.name, ServicePhase.PREPARING)
