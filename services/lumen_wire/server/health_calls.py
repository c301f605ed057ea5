"""`grpc.health.v1` over a HealthBoard: few watches, small requests, nothing kept of any name.

grpcio-health-checking's own servicer keeps whatever name a watcher sends, and reads 60 of 10 MiB.
"""

import asyncio
from collections import Counter
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from lumen_wire.errors import InvalidArgument, ResourceExhausted
from lumen_wire.request.callers import caller_of
from lumen_wire.server.health import HealthBoard
from lumen_wire.server.interceptors import intercept
from lumen_wire.server.small_calls import SmallRequests, brief

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

# Clients whose balancer asks for health hold one for each channel, and take its end for a failure.
_MOST_WATCHES = 512
_MOST_OF_ONE_PEER = 64
_LONGEST_NAME = 256


class HealthCalls:
    """Check and Watch of one server."""

    def __init__(self, board: HealthBoard, requests: SmallRequests) -> None:
        self._board = board
        self._requests = requests
        self._watches: dict[asyncio.Timeout, str] = {}  # to the peer; oldest first

    def handlers(self) -> "grpc.GenericRpcHandler":
        """Return both calls as gRPC wants them."""
        answer = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                # A stream of requests to gRPC: then it is this side that decides when to read.
                "Check": grpc.stream_unary_rpc_method_handler(
                    intercept("Check", brief(self._check)), response_serializer=answer
                ),
                "Watch": grpc.stream_stream_rpc_method_handler(
                    intercept("Watch", self._watch), response_serializer=answer
                ),
            },
        )

    async def _check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        del request
        return self._board.check(await self._name(context))

    async def _watch(self, request: Any, context: Any) -> None:
        del request
        name = await self._name(context)
        peer = caller_of(context.peer())[0]
        self._make_room(peer)
        try:
            async with asyncio.timeout(None) as stay:
                self._watches[stay] = peer
                async for response in self._board.watch(name):
                    await context.write(response)
        except TimeoutError as error:
            raise ResourceExhausted(
                f"Too many watch health here (at most {_MOST_OF_ONE_PEER} of one address);"
                " this was the oldest.",
                retry_after_ms=1000,
            ) from error
        finally:
            self._watches.pop(stay, None)

    def _make_room(self, peer: str) -> None:
        """End the oldest of a peer that has its share, or of the peer that has most."""
        held = Counter(self._watches.values())
        if held[peer] < _MOST_OF_ONE_PEER:
            if len(self._watches) < _MOST_WATCHES:
                return
            peer = held.most_common(1)[0][0]
        oldest = next(watch for watch, whose in self._watches.items() if whose == peer)
        del self._watches[oldest]
        oldest.reschedule(asyncio.get_running_loop().time())

    async def _name(self, context: Any) -> str:
        request = await self._requests.read(context, health_pb2.HealthCheckRequest)
        name = request.service if request is not None else ""
        if len(name) > _LONGEST_NAME:
            raise InvalidArgument(
                f"The name has {len(name)} characters; none is longer than {_LONGEST_NAME}."
            )
        return name
