"""Announces a server on the local network, for applications that look for one by mDNS.

Entered only when somebody serves and left before they stop. Nothing here may stop a server: without
the zeroconf package, or on a network without multicast, it warns and goes on.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

log = structlog.get_logger(__name__)

# A name's first label holds at most 63 bytes, and 9 of them make it unique.
_NAME_BYTES = 54


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is announced: one instance under each of the types.

    `address` is an IPv4 or IPv6 address as text, `properties` the TXT record.
    """

    types: tuple[str, ...]
    instance: str
    address: str
    port: int
    properties: Mapping[str, str]


def unique_instance(name: str, identity: str) -> str:
    """Return a name that no second server on the network has."""
    short = name.encode()[:_NAME_BYTES].decode(errors="ignore").replace(".", "-")
    return f"{short}-{identity.replace('-', '')[:8]}"


def full_type(name: str) -> str:
    """Return a service type in the form that mDNS wants, `_x._tcp.local.`."""
    name = name.rstrip(".")
    return f"{name}." if name.endswith(".local") else f"{name}.local."


def choose_address(advertise_ip: str, bind: str) -> str:
    """Return the address to announce: as told, else as bound, else that of the default route."""
    if advertise_ip:
        return advertise_ip
    with suppress(ValueError):
        bound = ipaddress.ip_address(bind.strip("[]"))
        if not bound.is_unspecified:
            return str(bound)
    return _address_of_default_route()


def _address_of_default_route() -> str:
    # Connecting a datagram socket sends nothing; it only asks the kernel for the route.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


class Announcer:
    """Keeps the announcement up while it is entered; does nothing when there is none."""

    def __init__(self, announcement: Announcement | None) -> None:
        self._announcement = announcement
        self._zeroconf: AsyncZeroconf | None = None
        self._infos: list[ServiceInfo] = []

    @property
    def announced(self) -> bool:
        """Whether others can find it now."""
        return self._zeroconf is not None

    async def __aenter__(self) -> Self:
        if self._announcement is None:
            return self
        try:
            await self._announce(self._announcement)
        except ModuleNotFoundError:
            log.warning(
                "mDNS is asked for, but the package zeroconf is missing", install="zeroconf"
            )
        except (OSError, ValueError) as error:
            log.warning("mDNS announcement failed, serving without it", error=str(error))
            await self._close()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _announce(self, told: Announcement) -> None:
        # zeroconf is an extra; only who announces needs it.
        from zeroconf import Error, InterfaceChoice, ServiceInfo  # noqa: PLC0415
        from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415

        address = ipaddress.ip_address(told.address)
        if address.is_loopback:
            log.warning(
                "mDNS announces a loopback address, no other machine can reach it",
                address=told.address,
                remedy="set ADVERTISE_IP",
            )
        interfaces = [told.address] if address.is_loopback else InterfaceChoice.All
        self._zeroconf = AsyncZeroconf(interfaces=interfaces)
        for service_type in told.types:
            info = ServiceInfo(
                full_type(service_type),
                f"{told.instance}.{full_type(service_type)}",
                addresses=[address.packed],
                port=told.port,
                properties=dict(told.properties),
            )
            try:
                await self._zeroconf.async_register_service(info, allow_name_change=True)
            except Error as error:
                raise ValueError(str(error)) from error
            self._infos.append(info)
        log.info("announced by mDNS", instance=told.instance, types=list(told.types))

    async def _close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is None:
            return
        farewells = [await zeroconf.async_unregister_service(info) for info in self._infos]
        await asyncio.gather(*farewells)
        await zeroconf.async_close()
        log.info("withdrawn from mDNS")
