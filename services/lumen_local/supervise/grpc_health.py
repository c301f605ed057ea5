"""The health client of the probes.

Imported once the processes have been started: it costs a third of a second, in which they can
already import what they need themselves.
"""

from typing import Self

import grpc.aio
from grpc_health.v1 import health_pb2

from lumen_local.pod.processes import Probe
from lumen_process.addresses import host_port
from lumen_wire.channels import open_direct

# gRPC's own reconnect delay starts at a second: longer than a whole start should take.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class HealthClient:
    """Asks one pod's health service; a context manager that owns the channels."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._channels: dict[int, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        """Open nothing yet: channels are made at the first look."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(None)

    async def passes(self, probe: Probe) -> bool:
        """Look once: SERVING within the probe's timeout is a pass, all else is not."""
        channel = self._channels.get(probe.port)
        if channel is None:
            target = host_port(self._host, probe.port)
            channel = open_direct(target, _CHANNEL_OPTIONS)
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
