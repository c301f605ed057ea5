"""The kubelet's gRPC probes, for one machine: startup, readiness and liveness of one server.

Thresholds and periods are the pod's. Only the wait between two looks is shorter while somebody
sits in front of the terminal: a server that is ready is seen within a tenth of a second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

import grpc.aio
from grpc_health.v1 import health_pb2

from lumen_local.processes import Probe, Probes

STARTUP_LOOK_S = 0.1
READINESS_LOOK_S = 1.0

# gRPC's own reconnect delay starts at a second: longer than a whole start should take.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)


class Finding(StrEnum):
    """Why a server must be restarted although its process runs."""

    NEVER_STARTED = "startup"
    NOT_ALIVE = "liveness"


class HealthClient:
    """Asks one pod's health service; a context manager that owns the channels."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._channels: dict[int, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        """Open nothing yet: channels are made at the first look."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(None)

    async def passes(self, probe: Probe) -> bool:
        """Look once: SERVING within the probe's timeout is a pass, all else is not."""
        channel = self._channels.get(probe.port)
        if channel is None:
            target = f"{self._host}:{probe.port}"
            channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
            self._channels[probe.port] = channel
        request = health_pb2.HealthCheckRequest(service=probe.service)
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(request, timeout=probe.timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


OnReady = Callable[[bool], Awaitable[None]]


async def watch(health: HealthClient, probes: Probes, on_ready: OnReady) -> Finding:
    """Probe for ever: tell `on_ready` whenever readiness turns; return why a restart is due.

    As with the kubelet, readiness and liveness begin when the startup probe has passed, and a
    server without a readiness probe is ready as soon as it has started.
    """
    if probes.startup is not None and not await _started(health, probes.startup):
        return Finding.NEVER_STARTED
    if probes.readiness is None:
        await on_ready(True)
    liveness = asyncio.ensure_future(_until_dead(health, probes.liveness))
    readiness = asyncio.ensure_future(_follow_readiness(health, probes.readiness, on_ready))
    try:
        await asyncio.wait({liveness, readiness}, return_when=asyncio.FIRST_COMPLETED)
        if readiness.done():
            readiness.result()
        return await liveness
    finally:
        liveness.cancel()
        readiness.cancel()
        await asyncio.gather(liveness, readiness, return_exceptions=True)


async def _started(health: HealthClient, probe: Probe) -> bool:
    """Wait for the first success, as long as the kubelet would."""
    deadline = time.monotonic() + probe.initial_delay_s + probe.period_s * probe.failure_threshold
    while not await health.passes(probe):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(min(probe.period_s, STARTUP_LOOK_S))
    return True


async def _follow_readiness(health: HealthClient, probe: Probe | None, on_ready: OnReady) -> None:
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


async def _until_dead(health: HealthClient, probe: Probe | None) -> Finding:
    if probe is None:
        await asyncio.Event().wait()
        return Finding.NOT_ALIVE
    await asyncio.sleep(probe.initial_delay_s)
    failures = 0
    while failures < probe.failure_threshold:
        await asyncio.sleep(probe.period_s)
        failures = 0 if await health.passes(probe) else failures + 1
    return Finding.NOT_ALIVE
