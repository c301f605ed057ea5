"""The router as a process: settings from the environment, logs, a loop, an exit code.

The life inside the loop is `running`'s.
"""

import asyncio
import importlib
import sys
from contextlib import AsyncExitStack

import structlog

from lumen_process import lifetime, logs
from lumen_process.settings import SettingsError
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.from_file import RoutesFile, RoutesSource
from lumen_router.running import RouterProcess
from lumen_router.settings import ClusterRoutes, FileRoutes, RouterSettings
from lumen_wire.server.grpc_server import PortUnavailable

FAILED = 1
USAGE = 2

log = structlog.get_logger(__name__)


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
    source: RoutesSource = await from_cluster.open_routes(routes, metrics, stack)
    return source
