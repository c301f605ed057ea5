"""Announces a run's router on the local network: from when all is ready until it is to stop."""

import asyncio

from lumen_process.mdns import Announcement, Announcer


async def announce(told: Announcement | None, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Announce once `ready` is set, and say goodbye as soon as `stop` is."""
    await ready.wait()
    if told is None or stop.is_set():
        return
    async with Announcer(told):
        await stop.wait()
