"""Routes from the cluster: what the watches of services and slices say, gathered and built.

`main` enters it when LUMEN_ROUTES_FROM is cluster. The watching is
`lumen_cluster`'s, the meaning `cluster_objects`'s.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Generic, Self, TypeVar

import structlog

from lumen_cluster.client import ClusterClient, find_server
from lumen_cluster.errors import NoServer
from lumen_cluster.kinds import ObjectKind, Raw, Resource
from lumen_cluster.reflector import ClusterReader, Reflector
from lumen_cluster.store import Name, Store
from lumen_manifest import names
from lumen_process.settings import SettingsError
from lumen_router.errors import ObjectUnreadable
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.cluster_objects import (
    keep_model_service,
    keep_slice,
    parse_model_service,
    parse_slice,
    routes_of_cluster,
)
from lumen_router.routes.table import Routes

SERVICES: Final = ObjectKind(names.GROUP, names.VERSION, "LumenModelService", "lumenmodelservices")
SLICES: Final = ObjectKind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
USER_AGENT: Final = "lumen-router"
GATHER_S: Final = 0.05
REST_PER_WORK: Final = 4.0
"""After a build the loop is others' for four times as long, so a storm takes at most a fifth."""

ParsedT = TypeVar("ParsedT")

log = structlog.get_logger(__name__)


def watched_resources(namespace: str) -> tuple[Resource, Resource]:
    """Return what is watched of a namespace: its services, and the slices of their pods."""
    return (
        Resource(SERVICES, namespace),
        Resource(SLICES, namespace, names.SERVICE_LABEL),
    )


async def open_routes(
    namespace: str, kubeconfig: str, metrics: RouterMetrics, stack: AsyncExitStack
) -> "RoutesFromCluster":
    """Begin to follow a namespace until the stack is left; raises SettingsError."""
    try:
        found = await find_server(kubeconfig, os.environ)
    except NoServer as error:
        raise SettingsError(f"LUMEN_ROUTES_FROM is cluster, but {error}") from error
    api = await stack.enter_async_context(ClusterClient(found, USER_AGENT))
    log.info("routes come from the cluster", server=found.host, namespace=namespace)
    source = RoutesFromCluster(api, namespace, metrics)
    return await stack.enter_async_context(source.following())


class RoutesFromCluster:
    """The routes of one namespace. Enter `following`, then `watch`."""

    def __init__(self, reader: ClusterReader, namespace: str, metrics: RouterMetrics) -> None:
        self._news = asyncio.Event()
        self._metrics = metrics
        services, slices = watched_resources(namespace)
        self._services = Store(keep_model_service, lambda _: self._news.set())
        self._slices = Store(keep_slice, lambda _: self._news.set())
        self._reflectors = (
            Reflector(reader, services, metrics.watches, self._services),
            Reflector(reader, slices, metrics.watches, self._slices),
        )
        self._read_service = ParseOnce(parse_model_service)
        self._read_slice = ParseOnce(parse_slice)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Self]:
        """Watch until it is left."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run()) for each in self._reflectors]
            try:
                yield self
            finally:
                for task in running:
                    task.cancel()

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

    def _build(self) -> Routes:
        services = self._read_service.read(self._services.objects)
        slices = self._read_slice.read(self._slices.objects)
        self._metrics.routes_built(self._read_service.unusable + self._read_slice.unusable)
        return routes_of_cluster(services, slices)


class ParseOnce(Generic[ParsedT]):
    """Parses each state of an object once; what cannot be read is left out and said once."""

    def __init__(self, parse: Callable[[Raw], ParsedT]) -> None:
        self._parse = parse
        self._parsed: dict[Name, tuple[Raw, ParsedT | None]] = {}

    @property
    def unusable(self) -> int:
        """How many objects of the last reading were left out."""
        return sum(parsed is None for _, parsed in self._parsed.values())

    def read(self, objects: Mapping[Name, Raw]) -> Iterable[ParsedT]:
        """Return every readable object, parsed, in order of name."""
        parsed = {name: self._one(name, objects[name]) for name in sorted(objects)}
        self._parsed = parsed
        return [one for _, one in parsed.values() if one is not None]

    def _one(self, name: Name, raw: Raw) -> tuple[Raw, ParsedT | None]:
        known = self._parsed.get(name)
        if known is not None and known[0] is raw:
            return known
        try:
            return raw, self._parse(raw)
        except ObjectUnreadable as error:
            if known is None or known[1] is not None:
                log.warning("object not usable, left out of the routes", why=str(error)[:500])
            return raw, None
