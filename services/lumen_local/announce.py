"""Announces a run's router on the local network: from when all is ready until it is to stop."""

import asyncio
import importlib.metadata
import uuid

from lumen_manifest.server_config import MdnsSpec
from lumen_process.mdns import Announcement, Announcer, choose_address, unique_instance

NAME = "lumen"


def router_announcement(spec: MdnsSpec | None, bind: str, port: int) -> Announcement | None:
    """Return what is announced of a router that listens there; None when nothing is asked for."""
    if spec is None or not spec.enabled:
        return None
    identity = spec.uuid or str(uuid.uuid4())
    version = spec.version or importlib.metadata.version("lumen-serve")
    return Announcement(
        types=tuple(name.strip() for name in spec.type.split(",") if name.strip()),
        instance=unique_instance(spec.name or NAME, identity),
        address=choose_address(spec.advertise_ip, bind),
        port=port,
        properties={
            "uuid": identity,
            "status": spec.status,
            "version": version,
            "v": version,
            "runtime": "router",
        },
    )


async def announce(told: Announcement | None, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Announce once `ready` is set, and say goodbye as soon as `stop` is."""
    await ready.wait()
    if told is None or stop.is_set():
        return
    async with Announcer(told):
        await stop.wait()
