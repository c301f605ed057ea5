"""`python3 -m lumen_router.advertise`: announces the router's Service on the local network.

The chart runs it with the node's network (router.mdns). It announces while the router serves and
the Service has an address that other machines reach, and withdraws otherwise. Every few seconds it
looks again, so a new address or a router without services is followed without a restart.
"""

import asyncio
import http.client
import json
import os
import ssl
import sys
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lumen_process import logs
from lumen_process.addresses import host_port
from lumen_process.lifetime import terminate_on_signal
from lumen_process.mdns import Announcement, Announcer, unique_instance
from lumen_process.settings import Environment
from lumen_router.advertise.announced import (
    AnnouncedEndpoint,
    AnnouncementOverrides,
    NotAnnounced,
    reach_of,
)
from lumen_wire.server.health import INFERENCE

LOOK_EVERY_S: Final = 10.0
CALL_S: Final = 5.0
BODY_BYTES_MAX: Final = 1024 * 1024
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
USAGE: Final = 2

log = structlog.get_logger(__name__)


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
                await _wait(stop, self._every_s)

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


async def _wait(stop: asyncio.Event, longest_s: float) -> None:
    try:
        async with asyncio.timeout(longest_s):
            await stop.wait()
    except TimeoutError:
        return


async def look(settings: AnnouncerSettings) -> AnnouncedEndpoint | NotAnnounced:
    """Return where the router can be reached, if it serves at all."""
    if not await serves(settings.router):
        return NotAnnounced("the router does not serve")
    try:
        service = await asyncio.to_thread(read_service, settings.namespace, settings.service)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return NotAnnounced(f"the Service cannot be read: {error}")
    return reach_of(service, settings.node_ip, settings.told)


async def serves(address: str) -> bool:
    """Tell whether the router there takes calls."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=INFERENCE)
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(request, timeout=CALL_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def read_service(namespace: str, name: str, account: Path = ACCOUNT) -> dict[str, Any]:
    """Ask the API server for the Service, as this pod's ServiceAccount.

    Raises OSError or ValueError when it does not answer with one.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    request = urllib.request.Request(
        f"https://{host_port(host, port)}/api/v1/namespaces/{namespace}/services/{name}",
        # Read each time: the kubelet renews it.
        headers={"Authorization": f"Bearer {(account / 'token').read_text().strip()}"},
    )
    trust = ssl.create_default_context(cafile=account / "ca.crt")
    # A proxy for the world is none for the cluster's own API server.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    with opener.open(request, timeout=CALL_S) as response:
        document = json.loads(response.read(BODY_BYTES_MAX))
    if not isinstance(document, dict):
        raise ValueError("the API server answered with no object")  # noqa: TRY004 - of the answer
    return document


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
