"""The operator as a process: settings, logs, health first, the election, work, and the end."""

import asyncio
import gc
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial

import structlog

from lumen_cluster.client import ClusterClient, find_server
from lumen_cluster.election import Election, LeaseName
from lumen_cluster.errors import NoServer
from lumen_operator.controller import Controller, Dependencies
from lumen_operator.liveness import Liveness
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.polling.status_poller import Reach, by_their_addresses
from lumen_operator.settings import OperatorSettings
from lumen_process import lifetime, logs
from lumen_process.http_status import start_http_status
from lumen_process.settings import SettingsError

USER_AGENT = "lumen-operator"
FAILED = 1
USAGE = 2
STOP_S = 10.0
GC_THRESHOLD = (20_000, 20, 20)
"""What is kept of the cluster lives long and has no cycles; the defaults look through it often."""

log = structlog.get_logger(__name__)


def main(reach: Reach = by_their_addresses) -> None:
    """Operate until SIGTERM.

    Ends the process with 0, 1 when it cannot go on, 2 for bad settings, 3 when the Lease is lost.
    """
    try:
        settings = OperatorSettings.from_environment()
        logs.configure(settings.log_format, settings.log_level)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    try:
        run(settings, reach)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    except OSError as error:
        log.error("operator cannot start", why=str(error))  # noqa: TRY400 - the message says it all
        sys.exit(FAILED)


def run(settings: OperatorSettings, reach: Reach) -> None:
    """Operate until a signal ends it."""
    gc.set_threshold(*GC_THRESHOLD)
    with asyncio.Runner(loop_factory=lifetime.event_loop_factory()) as runner:
        runner.run(OperatorProcess(settings, reach).live())


class OperatorProcess:
    """One operator process; `live` is its whole life."""

    def __init__(self, settings: OperatorSettings, reach: Reach = by_their_addresses) -> None:
        self._settings = settings
        self._reach = reach
        self._stopping = asyncio.Event()

    async def live(self) -> None:
        """Stand by, lead, and end at SIGTERM with the Lease given back.

        Raises:
            SettingsError: there is no way to the API server.
            OSError: a port is taken.
            ExceptionGroup: something without which there is no leading has failed.

        """
        settings, metrics = self._settings, OperatorMetrics()
        async with AsyncExitStack() as stack:
            try:
                found = await find_server(os.environ.get("KUBECONFIG", ""), os.environ)
            except NoServer as error:
                raise SettingsError(str(error)) from error
            client = await stack.enter_async_context(ClusterClient(found, USER_AGENT))
            lease = LeaseName(settings.namespace, settings.lease_name, settings.identity)
            election = Election(client, lease)
            liveness = Liveness(lambda: election.asked)
            outside = Dependencies(
                settings=settings,
                client=client,
                election=election,
                liveness=liveness,
                metrics=metrics,
                reach=self._reach,
            )
            leading = Controller(outside)
            serve = partial(start_http_status, settings.bind)
            stack.enter_context(serve(settings.health_port, liveness.routes()))
            stack.enter_context(serve(settings.metrics_port, {"/metrics": metrics.page}))
            self._on_signals()
            stack.push_async_callback(election.release)
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(liveness.beat())
                life = group.create_task(leading.live())
                await self._until_over(life, election)
                beating.cancel()
        log.info("stopped")

    async def _until_over(self, life: asyncio.Task[None], election: Election) -> None:
        """Wait for SIGTERM, or for the life to fail; end it, and the process where it hangs."""
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        life.cancel()
        await asyncio.wait({life}, timeout=STOP_S)
        if not life.done():
            log.error("stopping takes too long")
            await election.release()
            os._exit(FAILED)

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        log.info("stopping", signal=number.name)
        self._stopping.set()
