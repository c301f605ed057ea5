"""A router whose routes come from a real API server, and pods whose addresses a cluster would give.

EndpointSlices refuse loopback addresses, so pods get some of 198.18.0.0/15, and `Dialer` turns
those into the loopback ports where they listen. All else is the product's: list, watch, routes.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import cluster_objects
import router_world
from chart.rendering import CHART, run
from cluster_objects import a_route, a_service, a_slice
from controlplane.cluster import Cluster
from go_tools import program
from operator_lab import path_of
from router_world import World, until

from lumen_cluster.client import SILENCE_S, ClusterClient, find_server
from lumen_router.main import RouterProcess
from lumen_router.metrics import RouterMetrics
from lumen_router.routes import table as routes
from lumen_router.routes.from_cluster import RoutesFromCluster
from lumen_router.routes.from_file import RoutesSource
from lumen_router.routes.table import Routes
from lumen_router.settings import RouterSettings

# Kept for good: a program that is tied to its parent dies with the thread that started it.
_HANDS = ThreadPoolExecutor(2)
ACCOUNT = "lumen-router"


class Dialer:
    """Which loopback address is behind each address of the cluster; else it is `anywhere_else`."""

    def __init__(self, anywhere_else: str = "127.0.0.1:1") -> None:
        self._hosts = (f"198.18.{high}.{low}" for high in range(256) for low in range(1, 255))
        self._given: dict[str, str] = {}
        self.known: dict[str, str] = {}
        self.anywhere_else = anywhere_else

    def host_of(self, address: str) -> str:
        """Return the address of the cluster for a pod that listens on loopback."""
        if address not in self._given:
            self._given[address] = host = next(self._hosts)
            self.known[f"{host}:50051"] = address
        return self._given[address]

    def dialled(self, table: Routes) -> Routes:
        """Return the routes with every address as it is dialled."""
        return routes.build([self._service(service) for service in table.services])

    def _service(self, service: routes.Service) -> routes.Service:
        return replace(
            service,
            routes=tuple(
                replace(route, endpoints=tuple(map(self._endpoint, route.endpoints)))
                for route in service.routes
            ),
        )

    def _endpoint(self, endpoint: routes.Endpoint) -> routes.Endpoint:
        if endpoint.address.startswith("127."):
            return endpoint
        return replace(endpoint, address=self.known.get(endpoint.address, self.anywhere_else))


@dataclass
class Dialled:
    """A source of routes whose addresses go through the dialer; `seen` are those of the cluster."""

    source: RoutesSource
    dialer: Dialer
    seen: list[Routes] = field(default_factory=list)

    async def watch(self) -> AsyncIterator[Routes]:
        async for table in self.source.watch():
            self.seen.append(table)
            yield self.dialer.dialled(table)


def an_endpoint(host: str, *, ready: bool = True, leaving: bool = False) -> dict[str, Any]:
    """One pod as the endpoint slice controller lists it; `leaving`: it terminates, and serves."""
    return cluster_objects.an_endpoint(
        host, ready=ready and not leaving, serving=ready, terminating=leaving
    )


@dataclass
class Lab:
    """A namespace with services and slices, written as operator and endpoint controller do.

    Its methods block for as long as one request takes.
    """

    cluster: Cluster
    namespace: str
    helm: Path = field(default_factory=lambda: program("helm3"))
    dialer: Dialer = field(default_factory=Dialer)
    _sliced: set[str] = field(default_factory=set)

    def account(self, *, may_read: bool = True) -> Path:
        """Make the chart's ServiceAccount of the router, and return its kubeconfig."""
        self._apply_of_chart("router-serviceaccount.yaml")
        if may_read:
            self.let_read()
        return self.cluster.kubeconfig_for(self.namespace, ACCOUNT)

    def let_read(self) -> None:
        """Grant what the chart grants to the router, and nothing else."""
        self._apply_of_chart("router-rbac.yaml")

    def _apply_of_chart(self, template: str) -> None:
        text = run(
            self.helm, "template", "lumen", CHART, f"--namespace={self.namespace}",
            f"--show-only=templates/{template}", HOME=str(self.cluster.access.folder),
        )  # fmt: skip
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=text)

    def serve(
        self, name: str = "clip", family: str = "clip", *, status: Any = None, **spec: Any
    ) -> None:
        """Create a service whose routes are `<name>-stable`, unless `status` says otherwise."""
        if "external" in spec:
            spec["pool"] = None
        model = {"name": name, "runtime": "onnx"}
        document = a_service(name, family=family, model=model, **spec)
        self.cluster.create(path_of("lumenmodelservices", self.namespace), document)
        self.say(name, {"routes": [a_route(f"{name}-stable")]} if status is None else status)

    def say(self, name: str, status: dict[str, Any]) -> None:
        """Write a service's status."""
        path = path_of("lumenmodelservices", self.namespace, f"{name}/status")
        self.cluster.patch(path, {"status": status})

    def remove(self, name: str) -> None:
        """Delete a service."""
        self.cluster.delete(path_of("lumenmodelservices", self.namespace, name))

    def list_pods(self, *pods: Any, of: str = "clip-stable") -> None:
        """Let the one slice of a headless Service say exactly this: pods, or their endpoints."""
        endpoints = [pod if isinstance(pod, dict) else an_endpoint(self.host(pod)) for pod in pods]
        collection = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        if of in self._sliced:
            self.cluster.patch(f"{collection}/{of}-a", {"endpoints": endpoints})
            return
        found = a_slice(f"{of}-a", *endpoints, of=of)
        found["metadata"] = {key: found["metadata"][key] for key in ("name", "labels")}
        self.cluster.create(collection, found)
        self._sliced.add(of)

    def endpoint(self, pod: Any, **conditions: bool) -> dict[str, Any]:
        """Describe a pod that is not simply ready: see `an_endpoint`."""
        return an_endpoint(self.host(pod), **conditions)

    def host(self, pod: Any) -> str:
        """Return the address of the cluster of a pod, or of an address on loopback."""
        return self.dialer.host_of(pod if isinstance(pod, str) else pod.address)


class ClusterWorld(World):
    """A router of a namespace in this process, and a client's channel to it."""

    def __init__(self, lab: Lab, kubeconfig: Path, **settings: Any) -> None:
        self.lab = lab
        self.kubeconfig = kubeconfig
        self.silence_s = settings.pop("silence_s", SILENCE_S)
        told = environment(lab.namespace, kubeconfig, **settings)
        self.settings = RouterSettings.from_environment(told)
        self.stop = asyncio.Event()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        metrics = RouterMetrics()
        found = await find_server(str(self.kubeconfig), {})
        api = await self._open.enter_async_context(
            ClusterClient(found, "lumen-test", self.silence_s)
        )
        source = RoutesFromCluster(api, self.lab.namespace, metrics).following()
        self.source = Dialled(await self._open.enter_async_context(source), self.lab.dialer)
        self.running = RouterProcess(self.settings, self.source, metrics)
        await super().__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        await self._open.aclose()

    async def do(self, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Do something that blocks while the router goes on."""
        return await asyncio.get_running_loop().run_in_executor(
            _HANDS, functools.partial(work, *given, **named)
        )

    async def listed(self, *pods: Any, of: str = "clip-stable") -> None:
        """List these pods, and return when exactly they are ready for calls."""
        await self.do(self.lab.list_pods, *pods, of=of)
        await self.reaches(*pods)

    async def reaches(self, *pods: Any) -> None:
        """Return when exactly these pods are ready for calls."""
        wanted = {pod if isinstance(pod, str) else pod.address for pod in pods}
        await until(lambda: wanted == self.ready_addresses(), f"{wanted} ready")

    @property
    def names(self) -> list[str]:
        """The services that are routed, oldest first."""
        return [pods.service.name for pods in self.directory.services]


def environment(namespace: str, kubeconfig: Path, **settings: Any) -> dict[str, str]:
    """The variables of a router of a namespace."""
    whole = {"LUMEN_NAMESPACE": namespace, "KUBECONFIG": kubeconfig, **settings}
    return router_world.environment(LUMEN_ROUTES_FROM="cluster", **whole)


@asynccontextmanager
async def a_cluster_world(
    lab: Lab, *pods: router_world.ScriptedPod, kubeconfig: Path | None = None, **settings: Any
) -> AsyncIterator[ClusterWorld]:
    """Start the pods and a router of the namespace, which runs as its own ServiceAccount."""
    async with AsyncExitStack() as stack:
        for pod in pods:
            await stack.enter_async_context(pod)
        if kubeconfig is None:
            kubeconfig = await asyncio.to_thread(lab.account)
        yield await stack.enter_async_context(ClusterWorld(lab, kubeconfig, **settings))
