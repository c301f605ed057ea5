"""The router as a process: settings, ports, routes, readiness, drain, an exit code.

The ports open at once and answer `not yet`; the router serves as soon as one service has a ready
pod. SIGTERM drains: NOT_SERVING, a delay for endpoints to spread, what is in flight is answered.
"""

import asyncio
import importlib
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import grpc.aio
import structlog

from lumen_process import lifetime, logs
from lumen_process.http_status import start_http_status
from lumen_process.lifetime import terminate_on_signal
from lumen_process.settings import SettingsError
from lumen_router import status_page
from lumen_router.grpc_api.servicer import RouterServicer
from lumen_router.inference import InferenceCore
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.from_file import RoutesFile, RoutesSource
from lumen_router.settings import ClusterRoutes, FileRoutes, RouterSettings
from lumen_router.upstream.pending_calls import PendingCalls
from lumen_router.upstream.registry import LINGER_S, UpstreamRegistry
from lumen_wire.request.budget import ByteBudget
from lumen_wire.server.grpc_server import PortUnavailable, bind, build_health_server, build_server
from lumen_wire.server.health import HealthBoard, HealthPhase
from lumen_wire.server.open_streams import MemoryGuard, OpenStreams, memory_limit_bytes, own_memory

FAILED: Final = 1
USAGE: Final = 2
NOT_YET: Final = "No service is ready yet; try again in a moment."
ROUTING: Final = "routing"
"""The health name that a readiness probe asks for: this router knows what any other would know.

Unlike `home_native.v1.Inference` it does not wait for a service: a router of an empty namespace is
ready, and says itself what is missing.
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RouterPorts:
    """Where a running router listens."""

    grpc: int
    health: int
    metrics: int


class RouterProcess:
    """One router. `live` runs it; `ports` is known once `listening` is set.

    Whatever the transport, requests are answered by `inference`.
    """

    def __init__(
        self, settings: RouterSettings, source: RoutesSource, metrics: RouterMetrics | None = None
    ) -> None:
        self._settings = settings
        self._source = source
        self._board = HealthBoard()
        self._metrics = metrics or RouterMetrics()
        self._room = PendingCalls(settings.held_calls)
        self._budget = ByteBudget(settings.held_bytes)
        self._streams = OpenStreams()
        self._news = asyncio.Event()
        self._directory = UpstreamRegistry(self._news.set)
        self.inference = InferenceCore(
            self._directory, self._room, self._metrics, self._budget, settings.hold_s
        )
        self.listening = asyncio.Event()
        self.ports: RouterPorts | None = None

    async def live(self, stop: asyncio.Event | None = None) -> None:
        """Serve until `stop` is set, by default by SIGTERM or SIGINT, then drain.

        Raises PortUnavailable or OSError when a port is taken.
        """
        stopping = terminate_on_signal() if stop is None else stop
        async with AsyncExitStack() as stack:
            servers = await self._listen(stack)
            await stack.enter_async_context(self._directory)
            limit_bytes = memory_limit_bytes(self._settings.memory_limit_bytes)
            guard = MemoryGuard(self._streams, limit_bytes, own_memory())
            await stack.enter_async_context(guard)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            owned = [tasks.create_task(self._follow_routes()), tasks.create_task(self._be_ready())]
            self.listening.set()
            await stopping.wait()
            await self._stop(servers)
            for task in owned:
                task.cancel()

    async def _listen(self, stack: AsyncExitStack) -> list[grpc.aio.Server]:
        """Open every port; nothing serves yet."""
        settings = self._settings
        pages = {"/metrics": self._metrics.page, "/status": self._status}
        self._metrics.watch(status_page.figures(self._directory, self._room, self._budget))
        http = stack.enter_context(start_http_status(settings.bind, settings.metrics_port, pages))
        await self._board.set_loading(NOT_YET)
        await self._board.show(ROUTING, serving=False)
        servicer = RouterServicer(self._directory, self.inference, self._streams)
        main = build_server(servicer, self._board)
        health = build_health_server(self._board)
        ports = RouterPorts(
            bind(main, settings.bind, settings.grpc_port),
            bind(health, settings.bind, settings.health_port),
            http.port,
        )
        for server in (main, health):
            await server.start()
            stack.push_async_callback(server.stop, None)
        self.ports = ports
        log.info("router listens", bind=settings.bind, port=ports.grpc, metrics=ports.metrics)
        return [main, health]

    async def _follow_routes(self) -> None:
        before: list[str] | None = None
        async for routes in self._source.watch():
            self._directory.apply(routes)
            names = [service.name for service in routes.services]
            self._metrics.keep_only(names)
            self._news.set()
            # Pods come and go all day, and each of them says so itself.
            say = log.debug if names == before else log.info
            say("routes changed", services=names)
            before = names

    async def _be_ready(self) -> None:
        """Show on the health board whether a service is ready, or was a moment ago."""
        settled = False
        while True:
            if not settled and self._directory.settled():
                settled = True
                await self._board.show(ROUTING, serving=True)
            ready = self._directory.any_ready()
            if ready != (self._board.phase is HealthPhase.SERVING):
                log.info("router ready" if ready else "router not ready")
                await (self._board.set_serving() if ready else self._board.set_loading(NOT_YET))
                self._metrics.ready(ready)
            try:
                async with asyncio.timeout(LINGER_S):
                    await self._news.wait()
            except TimeoutError:
                # Nothing happened for as long as a service may be away: look again.
                continue
            self._news.clear()

    async def _stop(self, servers: list[grpc.aio.Server]) -> None:
        settings = self._settings
        log.info("router drains", delay_s=settings.drain_delay_s, grace_s=settings.grace_s)
        await self._board.set_stopping()
        await self._board.show(ROUTING, serving=False)
        await asyncio.sleep(settings.drain_delay_s)
        self.inference.drain.begin()
        # Health goes last: probes must not fail while calls are being answered.
        for server in servers:
            await server.stop(settings.grace_s)
        log.info("router stopped")

    def _status(self) -> tuple[str, bytes]:
        return status_page.page(self._directory, self._room, self._board.phase)


def main() -> None:
    """Route until SIGTERM; ends the process with 0, 1 when a port is taken, 2 for bad settings."""
    lifetime.die_with_parent()
    try:
        settings = RouterSettings.from_environment()
        logs.configure(settings.log_format, settings.log_level)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    try:
        run(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    except (PortUnavailable, OSError) as error:
        log.error("router cannot start", why=str(error))  # noqa: TRY400 - the message says it all
        sys.exit(FAILED)


def run(settings: RouterSettings) -> None:
    """Route until a signal ends it.

    Raises PortUnavailable or OSError when a port is taken, SettingsError when the cluster's API
    server cannot even be named.
    """
    with asyncio.Runner(loop_factory=lifetime.event_loop_factory()) as runner:
        runner.run(_live(settings))


async def _live(settings: RouterSettings) -> None:
    metrics = RouterMetrics()
    async with AsyncExitStack() as stack:
        source = await _open_source(settings.routes, metrics, stack)
        await RouterProcess(settings, source, metrics).live()


async def _open_source(
    routes: FileRoutes | ClusterRoutes, metrics: RouterMetrics, stack: AsyncExitStack
) -> RoutesSource:
    if isinstance(routes, FileRoutes):
        return RoutesFile(routes.path)
    # The Kubernetes client weighs 20 MiB: a router of files does without it.
    try:
        from_cluster = importlib.import_module("lumen_router.routes.from_cluster")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"LUMEN_ROUTES_FROM is cluster, and the package {error.name} is missing:"
            " pip install 'lumen-serve[router]'"
        ) from error
    source: RoutesSource = await from_cluster.open_routes(
        routes.namespace, routes.kubeconfig, metrics, stack
    )
    return source
