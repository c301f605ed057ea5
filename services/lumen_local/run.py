"""One run from first process to last: display, reaper, routes file, signals, exit code.

`up` and `serve` say what to launch; everything after that is the same for both.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lumen_local.announce import announce
from lumen_local.pod.machine import FreePorts, check_port
from lumen_local.pod.plans import (
    LOOPBACK,
    Planned,
    RouterPlan,
    RunContext,
    ServicePlan,
    router_plan,
    service_plan,
)
from lumen_local.routes_file import RoutesFileWriter
from lumen_local.show.choice import Display
from lumen_local.show.display import OutputClosed
from lumen_local.show.events import (
    AllReady,
    EndpointChanged,
    Event,
    Failed,
    Starting,
    Warned,
)
from lumen_local.state_dir import RunFolders, open_run
from lumen_local.supervise.orphan_reaper import OrphanReaper
from lumen_local.supervise.service_run import RunServices
from lumen_local.supervise.supervisor import RunOutcome, Supervisor
from lumen_manifest.announcement import announcement_of
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.reading.doors import MANIFEST, Door
from lumen_manifest.server_config import MdnsSpec
from lumen_process.mdns import Announcement


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """What the command line says of every run; `command` runs beside it and ends it.

    `mdns` announces the router, where there is one.
    """

    port: int
    bind: str
    state_dir: Path
    cache_dir: Path
    log_level: str | None
    command: tuple[str, ...] = ()
    mdns: MdnsSpec | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run: all services for the router to know, and those of them that run here.

    `direct` lets the one planned service listen on the port itself, without a router. `door` has
    the words for what is to be corrected, in whatever the user wrote.
    """

    services: Sequence[LumenModelService]
    planned: Sequence[Planned]
    warnings: Sequence[tuple[str, str]] = ()
    direct: bool = False
    door: Door = MANIFEST


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
            door=what.door,
            announced=None
            if what.direct
            else announcement_of(settings.mdns, "lumen", "router", (bind, door.port)),
        )
        return asyncio.run(_Run(plan, display).to_its_end())


TICK_S = 0.1

EXIT_DRAINED = 0
EXIT_NOTHING_SERVES = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_NOT_STARTED = 127


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What to run. `router` None: the one server is the door itself.

    `command`, if any, is started once everything is ready; its end is the run's, and its exit code.
    """

    services: Sequence[LumenModelService]
    plans: Sequence[ServicePlan]
    router: ServicePlan | None
    address: str
    folders: RunFolders
    warnings: Sequence[tuple[str, str]] = ()
    command: Sequence[str] = ()
    door: Door = MANIFEST
    announced: Announcement | None = None


class _Run:
    def __init__(self, plan: RunPlan, display: Display) -> None:
        self._plan = plan
        self._display: Display | None = display
        self._stop = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._ended: CommandEnded | None = None

    async def to_its_end(self) -> int:
        plan = self._plan
        self._routes = RoutesFileWriter(plan.folders.routes_file, plan.services)
        self._show(
            Starting(
                tuple(p.line for p in plan.plans),
                plan.address,
                plan.router is not None,
                str(plan.folders.state),
            )
        )
        for service, message in plan.warnings:
            self._show(Warned(service, message))
        async with OrphanReaper(plan.folders.run_id) as reaper, asyncio.TaskGroup() as group:
            around = RunServices(self._tell, reaper)
            supervisor = Supervisor(plan.plans, plan.router, plan.address, around)
            beside = [group.create_task(self._tick()), group.create_task(self._accompany())]
            group.create_task(announce(plan.announced, self._all_ready, self._stop))
            try:
                return self._exit_code(await self._until_signalled(supervisor.run(self._stop)))
            finally:
                for task in beside:
                    task.cancel()
                # Whoever waits for one of them ends by itself, and says goodbye before.
                self._stop.set()
                self._all_ready.set()
                self._close()

    async def _accompany(self) -> None:
        """Run the plan's command once everything is ready, then stop the run."""
        if not self._plan.command:
            return
        await self._all_ready.wait()
        self._ended = await _run_attached(self._plan.command, self._plan.address)
        if self._ended.error:
            self._show(Warned("", self._ended.error))
        self._stop.set()

    def _exit_code(self, code: int) -> int:
        if code != EXIT_DRAINED or not self._plan.command:
            return code
        return EXIT_INTERRUPTED if self._ended is None else self._ended.code

    async def _until_signalled(self, running: Awaitable[RunOutcome]) -> int:
        """Drain at the first signal, kill everything at the second."""
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(running)

        def on_signal() -> None:
            if self._stop.is_set():
                task.cancel()
            self._stop.set()

        for number in handled_signals():
            loop.add_signal_handler(number, on_signal)
        try:
            outcome = await task
        except asyncio.CancelledError:
            return EXIT_INTERRUPTED
        return EXIT_DRAINED if outcome is RunOutcome.STOPPED else EXIT_NOTHING_SERVES

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self._display is not None:
                try:
                    self._display.tick()
                except OutputClosed:
                    self._mute()

    def _tell(self, event: Event) -> None:
        if isinstance(event, Failed):
            said = self._plan.door.says
            failure = event.failure
            worded = replace(failure, message=said(failure.message), remedy=said(failure.remedy))
            event = replace(event, failure=worded)
        self._routes.observe(event)
        if not isinstance(event, EndpointChanged):  # the router's, not a person's
            self._show(event)
        if isinstance(event, AllReady):
            self._all_ready.set()

    def _show(self, event: Event) -> None:
        if self._display is not None:
            try:
                self._display.show(event)
            except OutputClosed:
                self._mute()

    def _mute(self) -> None:
        """Stop in good order when nobody reads any more: who started us is gone."""
        self._display = None
        self._stop.set()

    def _close(self) -> None:
        if self._display is not None:
            self._display.close()


def handled_signals() -> list[signal.Signals]:
    """Return the signals that end a run; a hang-up ignored by nohup stays ignored."""
    found = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """How the attached command ended: its exit code as in a shell, and why it did not start."""

    code: int
    error: str = ""


async def _run_attached(command: Sequence[str], address: str) -> CommandEnded:
    """Run the command to its end with LUMEN_SERVER set to `address`; cancelling terminates it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=os.environ | {"LUMEN_SERVER": address}
        )
    except OSError as error:
        return CommandEnded(EXIT_NOT_STARTED, f"{command[0]} can't be started: {error.strerror}")
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    return CommandEnded(code if code >= 0 else 128 - code)
