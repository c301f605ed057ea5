"""How a process is, by its own word: the kubelet's gRPC probes, and its status page.

Thresholds and periods are the pod's. Only the wait between two looks is shorter while somebody
sits in front of the terminal: a server that is ready is seen within a tenth of a second.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Protocol

import orjson

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


MAX_PAGE_BYTES = 256 * 1024
TIMEOUT_S = 1.0


async def fetch_status(host: str, port: int) -> Mapping[str, Any]:
    """Return the JSON object of GET /status; empty when there is none to be had within a second.

    A dozen lines of HTTP over asyncio instead of a client library: the page is ours, on loopback
    and small, and the library's import would cost every start a tenth of a second.
    """
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(TIMEOUT_S):
            body = await _get(host, port)
        page = orjson.loads(body)
        if isinstance(page, dict):
            return page
    return {}


async def _get(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_PAGE_BYTES)
    try:
        writer.write(f"GET /status HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = await reader.read(MAX_PAGE_BYTES)
        while more := await reader.read(MAX_PAGE_BYTES - len(answer)):
            answer += more
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise ValueError("The status page did not answer 200.")
    return body


def ready_pods(page: Mapping[str, Any]) -> set[str]:
    """Return the addresses of the pods to which a router sends calls."""
    services = page.get("services")
    return {
        pod["address"]
        for service in (services if isinstance(services, list) else [])
        for pod in service.get("pods", [])
        if pod.get("ready")
    }
