"""Runs all services and the router until told to stop, or until nothing can ever serve.

The router starts beside the services: it holds calls until a server is ready.
At the end the router drains first, since its calls in flight need the servers; then the servers
drain together. Cancelling `run` kills everything at once.
"""

import asyncio
import contextlib
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from lumen_local.pod.plans import ServicePlan
from lumen_local.show.events import AllReady, Event, Failed, LogLine, Ready, RunStopping, Stopped
from lumen_local.supervise.probes import fetch_status, ready_pods
from lumen_local.supervise.service_run import RunServices, ServiceRun
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import Failure

# The router follows the routes file within a tenth of a second and then greets each pod.
ROUTER_LEARNS_S = 10.0
ROUTER_ASKED_EVERY_S = 0.05


class RunOutcome(StrEnum):
    """How a run ended."""

    STOPPED = "stopped"
    NOTHING_LEFT = "nothing left"


class Supervisor:
    """All processes of one run."""

    def __init__(
        self,
        services: Sequence[ServicePlan],
        router: ServicePlan | None,
        address: str,
        around: RunServices,
    ) -> None:
        self._around = replace(around, tell=self._tell)
        self._listener = around.tell
        self._address = address
        self._services = [ServiceRun(plan, self._around) for plan in services]
        self._doors = [ServiceRun(router, self._around)] if router else []
        plans = (*services, *([router] if router else []))
        self._waiting = {(plan.name, n) for plan in plans for n in range(plan.line.replicas)}
        self._failed: set[str] = set()
        self._began = time.monotonic()
        self._ready: dict[tuple[str, int], Ready] = {}
        self._complete = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> RunOutcome:
        """Run until `stop` is set or nothing is left that could serve; then drain."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            servers = [group.create_task(self._guarded(run)) for run in self._services]
            doors = [group.create_task(self._guarded(run)) for run in self._doors]
            announcing = group.create_task(self._announce())
            asked = group.create_task(stop.wait())
            everything = group.create_task(_finished(servers, doors))
            await asyncio.wait({asked, everything}, return_when=asyncio.FIRST_COMPLETED)
            outcome = RunOutcome.STOPPED if asked.done() else RunOutcome.NOTHING_LEFT
            for waiting in (asked, everything, announcing):
                waiting.cancel()
            await self._drain(servers, doors)
        return outcome

    async def _drain(
        self, servers: Sequence[asyncio.Task[bool]], doors: Sequence[asyncio.Task[bool]]
    ) -> None:
        began = time.monotonic()
        running = [task for task in (*servers, *doors) if not task.done()]
        if running:
            self._tell(RunStopping(len(running)))
        for runs, tasks in ((self._doors, doors), (self._services, servers)):
            for run in runs:
                run.stop()
            if tasks:
                await asyncio.wait(tasks)
        killed = tuple(run.name for run in (*self._services, *self._doors) if run.killed)
        self._tell(Stopped(time.monotonic() - began, killed))

    async def _guarded(self, run: ServiceRun) -> bool:
        """Run a service so that a fault of ours in one leaves the others alone."""
        try:
            return await run.run()
        except Exception as error:  # noqa: BLE001 - the supervisor outlives any one service
            for line in traceback.format_exception(error):
                self._tell(LogLine(run.name, line.rstrip()))
            failure = Failure(
                Reason.UNKNOWN,
                f"Lumen itself failed here: {type(error).__name__}: {error}",
                "This is a defect of Lumen: please report it with the lines above.",
            )
            self._tell(Failed(run.name, "supervisor", 0, failure, None))
            return False

    def _tell(self, event: Event) -> None:
        self._listener(event)
        match event:
            case Ready(service=service, replica=replica):
                self._waiting.discard((service, replica))
                self._ready[service, replica] = event
            case Failed(service=service, replica=replica, retry_s=None, step=step):
                whole = step != "server"
                self._waiting -= {
                    w for w in self._waiting if w[0] == service and (whole or w[1] == replica)
                }
                self._failed.add(service)
            case _:
                return
        if not self._waiting and self._some_serve():
            self._complete.set()

    async def _announce(self) -> None:
        """Say once that everything is ready: when the router, too, knows every server."""
        await self._complete.wait()
        for door in self._doors:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUTER_LEARNS_S):
                    await self._router_knows_all(door.plan)
        seconds = time.monotonic() - self._began
        failed = tuple(sorted(self._failed))
        self._listener(AllReady(self._address, bool(self._doors), seconds, failed))

    async def _router_knows_all(self, router: ServicePlan) -> None:
        door = self._ready.get((router.name, 0))
        if door is None:
            return
        while True:
            page = await fetch_status(router.host, door.status_port)
            servers = {one.address for key, one in self._ready.items() if key[0] != router.name}
            if not page or servers <= ready_pods(page):
                return
            await asyncio.sleep(ROUTER_ASKED_EVERY_S)

    def _some_serve(self) -> bool:
        return not self._services or any(run.name not in self._failed for run in self._services)


async def _finished(
    servers: Sequence[asyncio.Task[bool]], doors: Sequence[asyncio.Task[bool]]
) -> None:
    """Return when all servers have ended, or a door has: without either nothing is served."""
    running = {*servers, *doors}
    while running:
        _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if any(door.done() for door in doors):
            return
        if servers and all(server.done() for server in servers):
            return
