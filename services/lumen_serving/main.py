"""The life of a model server: ports, model, service, drain.

The ports open first and answer `not yet`; configuration, files, model and label index load in a
thread; then the service opens. SIGTERM drains, a second signal ends the process at once.
Nothing that takes long to import is imported before the ports are open, pydantic included.
"""

import asyncio
import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from lumen_manifest.announcement import announcement_of
from lumen_process import lifetime
from lumen_process.http_status import start_http_status
from lumen_process.mdns import Announcement, Announcer
from lumen_resources import termination
from lumen_resources.errors import ResourceError
from lumen_serving.errors import StartError
from lumen_serving.metrics import ServerMetrics
from lumen_serving.servicer import (
    InferenceServicer,
    ReadinessGate,
    ServerPhase,
    ServerStatus,
    ServingContext,
)
from lumen_serving.settings import ServerSettings
from lumen_wire.request.budget import ByteBudget
from lumen_wire.request.chunks import ChunkLimits
from lumen_wire.server.grpc_server import PortUnavailable, bind, build_health_server, build_server
from lumen_wire.server.health import HealthBoard
from lumen_wire.server.open_streams import (
    Drain,
    MemoryGuard,
    OpenStreams,
    memory_limit_bytes,
    own_memory,
)
from lumen_wire.server.stream import StreamOptions

if TYPE_CHECKING:
    from grpc.aio import Server

    from lumen_manifest.server_config import ServerConfig
    from lumen_serving.startup.load import WarmModel

log = structlog.get_logger(__name__)
T = TypeVar("T")

FAILED = 1
# Between two looks at the model's files: a stat of each.
WATCH_S = 5.0
_MIB = 1 << 20
_HELD_BYTES = 256 * _MIB


def run(settings: ServerSettings) -> None:
    """Serve until a signal ends it.

    Raises:
        StartError, ResourceError: the model can't be served.

    """
    with asyncio.Runner(loop_factory=lifetime.event_loop_factory()) as runner:
        runner.run(_Running(settings).live())


class _Running:
    """The parts that live as long as the process."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._metrics = ServerMetrics()
        self._status = ServerStatus()
        self._board = HealthBoard()
        self._door = ReadinessGate()
        self._drain = Drain()
        self._streams = OpenStreams()
        self._grpc_port = 0

    async def live(self) -> None:
        """Open, load, serve, drain, close."""
        stop = lifetime.terminate_on_signal()
        async with AsyncExitStack() as stack:
            server = await self._open_ports(stack)
            # A thread of its own: the end waits for those of the loop, and a load can take minutes.
            loader = ThreadPoolExecutor(1, "load")
            loading = asyncio.get_running_loop().run_in_executor(loader, self._load)
            warm = await _unless(stop, loading)
            if warm is not None:
                async with await self._open_service(stack, warm):
                    await _unless(stop, asyncio.ensure_future(_watch_files(warm)))
                    await self._say_stopping()
                # Endpoints spread through a cluster with no sign that they have arrived.
                await asyncio.sleep(self._settings.drain_delay_s)
            else:
                await self._say_stopping()
            await self._finish(server)

    async def _open_ports(self, stack: AsyncExitStack) -> "Server":
        """Listen everywhere and answer that the model loads."""
        told = self._settings
        routes = {"/metrics": self._metrics.page, "/status": self._status.page}
        servicer = InferenceServicer(self._door, self._board, self._metrics)
        server = build_server(servicer, self._board, metrics=self._metrics)
        health = build_health_server(self._board)
        try:
            self._grpc_port = bind(server, told.bind, told.grpc_port)
            bind(health, told.bind, told.health_port)
            stack.enter_context(start_http_status(told.bind, told.metrics_port, routes))
        except (PortUnavailable, OSError) as error:
            raise StartError(str(error)) from error
        await self._board.set_loading()
        for one in (health, server):
            await one.start()
            stack.push_async_callback(one.stop, 0)
        log.info("listening", grpc_port=self._grpc_port)
        return server

    def _load(self) -> "WarmModel":
        """Import the libraries, read the configuration and load the model; in a thread."""
        startup = importlib.import_module("lumen_serving.startup.load")
        config: ServerConfig = self._settings.read_config()
        if not self._settings.log_level:
            self._settings.configure_logs(config.server.log_level)
        warm: WarmModel = startup.warm_up(config, self._settings)
        return warm

    async def _open_service(self, stack: AsyncExitStack, warm: "WarmModel") -> Announcer:
        """Let requests in and say so everywhere."""
        assembly = importlib.import_module("lumen_serving.startup.assembly")
        service = await stack.enter_async_context(assembly.assembled(warm, self._metrics))
        capability = assembly.capability(warm, service.kinds)
        limit_bytes = memory_limit_bytes(self._settings.memory_limit_bytes)
        guard = MemoryGuard(self._streams, limit_bytes, own_memory())
        await stack.enter_async_context(guard)
        family, options = warm.config.family, self._stream_options(warm.config)
        self._door.open(ServingContext(family, service, capability, options))
        self._status.facts = assembly.facts(warm, capability)
        self._status.phase = ServerPhase.SERVING
        self._metrics.ready(True)
        await self._board.set_serving()
        log.info(
            "serving",
            model=warm.model.model_id,
            device=warm.report.device,
            precision=warm.report.precision,
            parity_cosine=warm.parity_cosine,
            max_batch_sizes=warm.max_batch_sizes,
        )
        return Announcer(announcement(warm.config, self._settings, self._grpc_port))

    async def _say_stopping(self) -> None:
        """Tell everyone who asks to go elsewhere; what comes all the same is answered."""
        log.info("stopping")
        self._status.phase = ServerPhase.STOPPING
        self._metrics.ready(False)
        await self._board.set_stopping()

    async def _finish(self, server: "Server") -> None:
        """Take nothing new, answer what is in flight, stop listening."""
        self._door.close()
        self._drain.begin()
        await server.stop(self._settings.grace_s)
        log.info("stopped")

    def _stream_options(self, config: "ServerConfig") -> StreamOptions:
        """Return the bounds of a stream and of what all streams hold together."""
        payload_bytes = config.server.max_payload_mib * _MIB
        budget = ByteBudget(max(_HELD_BYTES, 2 * payload_bytes))
        self._metrics.held_bytes_with(lambda: budget.held_bytes)
        limits = ChunkLimits(max_request_bytes=payload_bytes, budget=budget)
        return StreamOptions(limits=limits, drain=self._drain, streams=self._streams)


async def _watch_files(warm: "WarmModel") -> None:
    """Look at the model's files for ever; raises ResourceError once one was written to."""
    verify = importlib.import_module("lumen_resources.fetch.verify")
    watch = verify.FileWatch(warm.model)
    while True:
        await asyncio.sleep(WATCH_S)
        await asyncio.to_thread(watch.look)


async def _unless(stop: asyncio.Event, work: "asyncio.Future[T]") -> T | None:
    """Return what the work gives, or None when the stop comes first."""
    stopped = asyncio.ensure_future(stop.wait())
    try:
        both: set[asyncio.Future[Any]] = {stopped, work}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        stopped.cancel()
        work.cancel()


def announcement(
    config: "ServerConfig", settings: ServerSettings, port: int
) -> Announcement | None:
    """Return what the configuration wants announced, None when it wants nothing."""
    name, runtime = config.service, config.model.runtime.value
    listens = (settings.bind, port)
    return announcement_of(config.mdns, name, runtime, listens, settings.advertise_ip)


def main() -> None:
    """Serve until told to stop; ends the process with 0, or 1 when the start failed."""
    lifetime.die_with_parent()
    termination_log = Path(os.environ.get("LUMEN_TERMINATION_LOG", "/dev/termination-log"))
    try:
        settings = ServerSettings.from_environment()
        settings.configure_logs("info")
        run(settings)
        code = 0
    except (StartError, ResourceError) as failure:
        said = "the server cannot serve this model"
        termination.last_words(termination_log, failure, said, cause=failure.__cause__)
        code = FAILED
    # The interpreter's own end would wait for a runtime that still loads in its thread.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
