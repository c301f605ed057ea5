"""The kubelet's gRPC probes, for one machine: startup, readiness and liveness of one server.

Thresholds and periods are the pod's. Only the wait between two looks is shorter while somebody
sits in front of the terminal: a server that is ready is seen within a tenth of a second.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Protocol

from lumen_local.pod.processes import Probe, Probes

STARTUP_LOOK_S = 0.1
READINESS_LOOK_S = 1.0


class ProbeResult(StrEnum):
    """Why a server must be restarted although its process runs."""

    NEVER_STARTED = "startup"
    NOT_ALIVE = "liveness"


class Health(Protocol):
    """Asks one pod's health service."""

    async def passes(self, probe: Probe) -> bool:
        """Look once."""


OnReady = Callable[[bool], Awaitable[None]]


async def watch(health: Health, probes: Probes, on_ready: OnReady) -> ProbeResult:
    """Probe for ever: tell `on_ready` whenever readiness turns; return why a restart is due.

    As with the kubelet, readiness and liveness begin when the startup probe has passed, and a
    server without a readiness probe is ready as soon as it has started.
    """
    if probes.startup is not None and not await _started(health, probes.startup):
        return ProbeResult.NEVER_STARTED
    if probes.readiness is None:
        await on_ready(True)
    dead = _until_dead(health, probes.liveness)
    turning = _follow_readiness(health, probes.readiness, on_ready)
    async with side_by_side(dead, turning) as (liveness, readiness):
        if readiness.done():
            readiness.result()
        result: ProbeResult = await liveness
        return result


@asynccontextmanager
async def side_by_side(
    *running: Coroutine[Any, Any, Any],
) -> AsyncIterator[tuple[asyncio.Task[Any], ...]]:
    """Run until the first has ended; what still runs when the block is left is cancelled."""
    tasks = tuple(asyncio.create_task(each) for each in running)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _started(health: Health, probe: Probe) -> bool:
    """Wait for the first success, as long as the kubelet would."""
    deadline = time.monotonic() + probe.initial_delay_s + probe.period_s * probe.failure_threshold
    while not await health.passes(probe):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(min(probe.period_s, STARTUP_LOOK_S))
    return True


async def _follow_readiness(health: Health, probe: Probe | None, on_ready: OnReady) -> None:
    if probe is None:
        await asyncio.Event().wait()
        return
    ready, run = False, 0  # `run`: looks in a row that contradict `ready`
    while True:
        contradicts = await health.passes(probe) != ready
        run = run + 1 if contradicts else 0
        if run >= (probe.failure_threshold if ready else probe.success_threshold):
            ready, run = not ready, 0
            await on_ready(ready)
        look_s = READINESS_LOOK_S if ready else STARTUP_LOOK_S
        await asyncio.sleep(min(probe.period_s, look_s))


async def _until_dead(health: Health, probe: Probe | None) -> ProbeResult:
    if probe is None:
        await asyncio.Event().wait()
        return ProbeResult.NOT_ALIVE
    await asyncio.sleep(probe.initial_delay_s)
    failures = 0
    while failures < probe.failure_threshold:
        await asyncio.sleep(probe.period_s)
        failures = 0 if await health.passes(probe) else failures + 1
    return ProbeResult.NOT_ALIVE
