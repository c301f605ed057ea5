"""Routes from the cluster: what the watches of services and slices say, gathered and built.

`main` enters it when LUMEN_ROUTES_FROM is cluster. The watching is
`lumen_cluster`'s, the meaning `cluster_routes`'s.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import structlog

from lumen_cluster.client import ClusterClient, find_server
from lumen_cluster.errors import NoServer
from lumen_cluster.kinds import Resource
from lumen_cluster.reflector import ClusterReader, Reflector
from lumen_cluster.store import Change, Store
from lumen_manifest import names
from lumen_process.settings import SettingsError
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.cluster_objects import (
    keep_model_service,
    keep_slice,
    parse_model_service,
    parse_slice,
)
from lumen_router.routes.cluster_routes import routes_of_cluster
from lumen_router.routes.mirror import ParseOnce
from lumen_router.routes.table import Routes
from lumen_router.settings import ClusterRoutes

USER_AGENT: Final = "lumen-router"
GATHER_S: Final = 0.05
REST_PER_WORK: Final = 4.0
"""After a build the loop is others' for four times as long, so a storm takes at most a fifth."""

log = structlog.get_logger(__name__)


def watched_resources(namespace: str) -> tuple[Resource, Resource]:
    """Return what is watched of a namespace: its services, and the slices of their pods."""
    return (
        Resource(names.GROUP, names.VERSION, "lumenmodelservices", namespace),
        Resource("discovery.k8s.io", "v1", "endpointslices", namespace, names.SERVICE_LABEL),
    )


async def open_routes(
    told: ClusterRoutes, metrics: RouterMetrics, stack: AsyncExitStack
) -> "RoutesFromCluster":
    """Begin to follow a namespace until the stack is left; raises SettingsError."""
    try:
        found = await find_server(told.kubeconfig, os.environ)
    except NoServer as error:
        raise SettingsError(f"LUMEN_ROUTES_FROM is cluster, but {error}") from error
    api = await stack.enter_async_context(ClusterClient(found, USER_AGENT))
    log.info("routes come from the cluster", server=found.host, namespace=told.namespace)
    return await stack.enter_async_context(RoutesFromCluster(api, told.namespace, metrics))


class RoutesFromCluster:
    """The routes of one namespace. Enter it, then `watch`; leaving it ends the watches."""

    def __init__(self, reader: ClusterReader, namespace: str, metrics: RouterMetrics) -> None:
        self._news = asyncio.Event()
        self._metrics = metrics
        services, slices = watched_resources(namespace)
        self._services = Store(keep_model_service, self._hear)
        self._slices = Store(keep_slice, self._hear)
        self._followers = (
            Reflector(reader, services, metrics.watches, self._services),
            Reflector(reader, slices, metrics.watches, self._slices),
        )
        self._read_service = ParseOnce(parse_model_service)
        self._read_slice = ParseOnce(parse_slice)
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for follower in self._followers:
            self._running.append(self._tasks.create_task(follower.run()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def watch(self) -> AsyncIterator[Routes]:
        """Yield the routes once both kinds are known, then again whenever they are different.

        Whatever happens while routes are built or used is gathered into the next building.
        """
        last: Routes | None = None
        while True:
            await self._news.wait()
            self._news.clear()
            started = time.monotonic()
            if self._services.listed and self._slices.listed:
                routes = self._build()
                if routes != last:
                    last = routes
                    yield routes
            worked_s = time.monotonic() - started
            await asyncio.sleep(max(GATHER_S, REST_PER_WORK * worked_s))

    def _hear(self, _: Change | None) -> None:
        self._news.set()

    def _build(self) -> Routes:
        services = self._read_service.read(self._services.objects)
        slices = self._read_slice.read(self._slices.objects)
        self._metrics.routes_built(self._read_service.unusable + self._read_slice.unusable)
        return routes_of_cluster(services, slices)
