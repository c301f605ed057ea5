"""`python3 -m lumen_router.advertise`: announces the router's Service on the local network.

The chart runs it with the node's network (router.mdns). It announces while the router serves and
the Service has an address that other machines reach, and withdraws otherwise. Every few seconds it
looks again, so a new address or a router without services is followed without a restart.
"""

import asyncio
import ipaddress
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lumen_cluster.client import ApiRequest, ClusterClient, find_server
from lumen_cluster.errors import ApiError, NoServer
from lumen_process import logs
from lumen_process.lifetime import terminate_on_signal
from lumen_process.mdns import Announcement, Announcer, unique_instance
from lumen_process.settings import Environment
from lumen_wire.channels import open_direct
from lumen_wire.server.health import INFERENCE

LOOK_EVERY_S: Final = 10.0
CALL_S: Final = 5.0
USAGE: Final = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AnnouncedEndpoint:
    """An address and a port that machines outside the cluster reach; the address is an IP."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NotAnnounced:
    """There is none, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class AnnouncementOverrides:
    """What the settings say instead of the Service: "" and 0 where they say nothing."""

    address: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class AnnouncerSettings:
    """What the chart says; every one is an environment variable."""

    namespace: str
    service: str
    router: str
    node_ip: str
    name: str
    types: tuple[str, ...]
    told: AnnouncementOverrides
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> "AnnouncerSettings":
        """Read every variable; raises SettingsError with the one that is missing or wrong."""
        env = Environment(variables)
        types = env.text("LUMEN_MDNS_TYPE", "_lumen._tcp.local.")
        return cls(
            namespace=env.required("LUMEN_NAMESPACE"),
            service=env.required("LUMEN_SERVICE"),
            router=env.required("LUMEN_ROUTER"),
            node_ip=env.required("LUMEN_NODE_IP"),
            name=env.text("LUMEN_MDNS_NAME", "lumen"),
            types=tuple(one.strip() for one in types.split(",") if one.strip()),
            told=AnnouncementOverrides(
                env.text("LUMEN_MDNS_ADDRESS"), env.port("LUMEN_MDNS_PORT", 0)
            ),
            log_format=env.text("LUMEN_LOG_FORMAT", "json"),
            log_level=env.text("LUMEN_LOG_LEVEL", "info"),
        )


Look = Callable[[], Awaitable[AnnouncedEndpoint | NotAnnounced]]


class Advertiser:
    """Announces what `look` finds. `look` answers with what is wrong and never raises."""

    def __init__(
        self, settings: AnnouncerSettings, look: Look, every_s: float = LOOK_EVERY_S
    ) -> None:
        self._settings = settings
        self._look = look
        self._every_s = every_s
        self._identity = str(uuid.uuid4())

    async def live(self, stop: asyncio.Event) -> None:
        """Look and announce until `stop` is set; what was announced is withdrawn then."""
        now: AnnouncedEndpoint | NotAnnounced | None = None
        async with AsyncExitStack() as announced:
            while not stop.is_set():
                found = await self._look()
                if found != now:
                    await announced.aclose()
                    now = found if await self._say(found, announced) else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._every_s):
                        await stop.wait()

    async def _say(
        self, found: AnnouncedEndpoint | NotAnnounced, announced: AsyncExitStack
    ) -> bool:
        """Announce what was found; False when that failed and is to be tried again."""
        if isinstance(found, NotAnnounced):
            log.info("nothing is announced", why=found.why)
            return True
        announcer = Announcer(self._announcement(found))
        return (await announced.enter_async_context(announcer)).announced

    def _announcement(self, reach: AnnouncedEndpoint) -> Announcement:
        version = metadata.version("lumen-serve")
        return Announcement(
            types=self._settings.types,
            instance=unique_instance(self._settings.name, self._identity),
            address=reach.address,
            port=reach.port,
            properties={
                "uuid": self._identity,
                "status": "ready",
                "version": version,
                "v": version,
                "runtime": "router",
            },
        )


async def look(settings: AnnouncerSettings) -> AnnouncedEndpoint | NotAnnounced:
    """Return where the router can be reached, if it serves at all."""
    if not await serves(settings.router):
        return NotAnnounced("the router does not serve")
    try:
        found = await find_server("", os.environ)
        async with ClusterClient(found, "lumen-mdns") as client:
            service = await read_service(client, settings.namespace, settings.service)
    except (NoServer, ApiError) as error:
        return NotAnnounced(f"the Service cannot be read: {error}")
    return reach_of(service, settings.node_ip, settings.told)


async def serves(address: str) -> bool:
    """Tell whether the router there takes calls."""
    async with open_direct(address) as channel:
        request = health_pb2.HealthCheckRequest(service=INFERENCE)
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(request, timeout=CALL_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def read_service(client: ClusterClient, namespace: str, name: str) -> dict[str, Any]:
    """Ask the API server for the Service, as this pod's ServiceAccount; raises ApiError."""
    path = f"/api/v1/namespaces/{namespace}/services/{name}"
    return await client.ask(ApiRequest("GET", path, deadline_s=CALL_S))


def reach_of(
    service: Mapping[str, Any], node_ip: str, told: AnnouncementOverrides = AnnouncementOverrides()
) -> AnnouncedEndpoint | NotAnnounced:
    """Read a Service as the API server gives it.

    A load balancer's address is announced; with a node port it is the node's own.
    """
    spec, port = service.get("spec") or {}, _port(service)
    if port is None:
        return NotAnnounced("the Service has no port named grpc")
    if told.address:
        return AnnouncedEndpoint(told.address, told.port or int(port.get("port", 0)))
    balanced = _balancer_ip(service)
    if balanced:
        return AnnouncedEndpoint(balanced, told.port or int(port.get("port", 0)))
    if spec.get("type") == "NodePort" and port.get("nodePort"):
        return AnnouncedEndpoint(node_ip, told.port or int(port["nodePort"]))
    return NotAnnounced(_why(str(spec.get("type", ""))))


def _port(service: Mapping[str, Any]) -> Mapping[str, Any] | None:
    ports = (service.get("spec") or {}).get("ports") or []
    return next((port for port in ports if port.get("name") == "grpc"), None)


def _balancer_ip(service: Mapping[str, Any]) -> str:
    """Return the balancer's first IP address; mDNS cannot announce a name that is not its own."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    for entry in balancer.get("ingress") or []:
        try:
            return str(ipaddress.ip_address(entry.get("ip", "")))
        except ValueError:
            continue
    return ""


def _why(kind: str) -> str:
    if kind == "LoadBalancer":
        return "the load balancer has given the Service no IP address yet"
    return f"a Service of type {kind} is reached from inside the cluster only"


async def _live(settings: AnnouncerSettings) -> None:
    await Advertiser(settings, lambda: look(settings)).live(terminate_on_signal())


def main() -> int:
    """Announce until SIGTERM; returns the exit code, 2 for settings that cannot be used."""
    try:
        settings = AnnouncerSettings.from_environment()
        logs.configure(settings.log_format, settings.log_level)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    asyncio.run(_live(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
