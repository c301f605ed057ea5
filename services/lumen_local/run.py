"""One run from first process to last: display, guard, routes file, signals, exit code.

`up` and `serve` build a RunPlan; everything after that is the same for both.
"""

import asyncio
import signal
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from lumen_local.pod.plans import ServicePlan
from lumen_local.routes_file import RoutesFileWriter
from lumen_local.show.display import Display
from lumen_local.show.events import AllReady, EndpointChanged, Event, Starting, Warned
from lumen_local.show.output_stream import OutputClosed
from lumen_local.state_dir import RunFolders
from lumen_local.supervise.companion import CommandEnded, run_companion
from lumen_local.supervise.guarded import Guard
from lumen_local.supervise.service_run import RunServices
from lumen_local.supervise.supervisor import RunOutcome, Supervisor
from lumen_manifest.model_service import LumenModelService

TICK_S = 0.1

EXIT_DRAINED = 0
EXIT_NOTHING_SERVES = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT


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


def run(plan: RunPlan, display: Display) -> int:
    """Run until a signal, or until nothing can ever serve; return the exit code."""

    async def to_its_end() -> int:
        return await _Run(plan, display).to_its_end()

    return asyncio.run(to_its_end())


class _Run:
    def __init__(self, plan: RunPlan, display: Display) -> None:
        self._plan = plan
        self._display: Display | None = display
        self._stop = asyncio.Event()
        self._all_ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
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
        async with Guard(plan.folders.run_id) as guard, asyncio.TaskGroup() as group:
            around = RunServices(self._tell, guard)
            supervisor = Supervisor(plan.plans, plan.router, plan.address, around)
            beside = [group.create_task(self._tick()), group.create_task(self._accompany())]
            try:
                return self._exit_code(await self._until_signalled(supervisor.run(self._stop)))
            finally:
                for task in beside:
                    task.cancel()
                self._close()

    async def _accompany(self) -> None:
        """Run the plan's command once everything is ready, then stop the run."""
        if not self._plan.command:
            return
        address = await self._all_ready
        self._ended = await run_companion(self._plan.command, address)
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
        self._routes.observe(event)
        if not isinstance(event, EndpointChanged):  # the router's, not a person's
            self._show(event)
        if isinstance(event, AllReady) and not self._all_ready.done():
            self._all_ready.set_result(event.address)

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
