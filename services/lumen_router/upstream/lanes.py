"""The connections to one pod.

A server takes a bounded number of calls on a connection. What exceeds it would wait in gRPC's own
line, first come, first served, in front of the pod's, where callers take turns. So there is a
further connection before one is full, and a flood meets the pod's own rules.
"""

from collections.abc import Sequence
from typing import Any, Final

import grpc.aio

from lumen_wire.channels import open_direct
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.server.grpc_server import ServerOptions

MESSAGE_BYTES: Final = 64 * 1024 * 1024
INFER: Final = "/home_native.v1.Inference/Infer"
# The rest is for questions about the pod itself, which must not wait behind calls.
CALLS_A_LANE: Final = ServerOptions().max_concurrent_streams * 3 // 4
# More calls than a server admits by default, from all callers together: 1,024.
MOST_LANES: Final = 12

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # Two channels must never share a connection, and a removed pod's must not linger.
    ("grpc.use_local_subchannel_pool", 1),
    # A paused node is noticed within 20 s, and a machine that stands still for some seconds keeps
    # its connections; servers permit a ping each 10 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # What bounds the answer to a ping; by itself it is a minute, whatever keepalive says.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A pod that restarts takes traffic again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Retries are the router's own: they go to another pod.
    ("grpc.enable_retries", 0),
)

InferCall = (
    grpc.aio.UnaryStreamCall[Any, pb.InferResponse]
    | grpc.aio.StreamStreamCall[Any, pb.InferResponse]
)


class Lane:
    """One connection, and how many calls are out on it."""

    def __init__(self, address: str) -> None:
        self.channel = open_direct(address, CHANNEL_OPTIONS)
        self.outstanding = 0
        answer = pb.InferResponse.FromString
        self._whole: grpc.aio.UnaryStreamMultiCallable[bytes, pb.InferResponse] = (
            self.channel.unary_stream(INFER, request_serializer=bytes, response_deserializer=answer)
        )
        self._parts: grpc.aio.StreamStreamMultiCallable[bytes, pb.InferResponse] = (
            self.channel.stream_stream(
                INFER, request_serializer=bytes, response_deserializer=answer
            )
        )

    def infer(
        self, messages: Sequence[bytes], timeout_s: float, metadata: Sequence[tuple[str, str]]
    ) -> InferCall:
        """Send one request, in as many messages as it takes; the call is the caller's to read."""
        told = tuple(metadata)
        call: InferCall
        if len(messages) == 1:
            call = self._whole(messages[0], timeout=timeout_s, metadata=told)
        else:
            call = self._parts(iter(messages), timeout=timeout_s, metadata=told)
        self.outstanding += 1
        call.add_done_callback(self._done)
        return call

    def _done(self, _: object) -> None:
        self.outstanding -= 1


class Lanes:
    """All connections to a pod. The first is always there; the others come with the calls."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lanes = [Lane(address)]

    @property
    def first(self) -> Lane:
        """Return the one whose connection tells whether the pod is there."""
        return self._lanes[0]

    def choose(self) -> Lane:
        """Return the first with room; where none has any, a new one or the one with the fewest."""
        free = next((lane for lane in self._lanes if lane.outstanding < CALLS_A_LANE), None)
        if free is not None:
            return free
        if len(self._lanes) < MOST_LANES:
            self._lanes.append(Lane(self._address))
            return self._lanes[-1]
        return min(self._lanes, key=lambda lane: lane.outstanding)

    async def close(self) -> None:
        """Close all, calls in flight included."""
        for lane in self._lanes:
            await lane.channel.close(None)
