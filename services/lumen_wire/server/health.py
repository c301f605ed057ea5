"""Health in the words of grpc.health.v1, and whether this process takes requests.

"" and `liveness` say that the process lives; `home_native.v1.Inference` says that it serves.
The calls are our own: grpcio-health-checking's servicer keeps whatever name a watcher sends, and
reads 60 of 10 MiB.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from lumen_wire.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from lumen_wire.request.callers import caller_of
from lumen_wire.server.interceptors import intercept
from lumen_wire.server.small_calls import SmallRequests, brief

OVERALL = ""
LIVENESS = "liveness"
INFERENCE = "home_native.v1.Inference"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

Status: TypeAlias = int

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# Clients whose balancer asks for health hold one for each channel, and take its end for a failure.
_MOST_WATCHES = 512
_MOST_OF_ONE_PEER = 64
_LONGEST_NAME = 256


class HealthPhase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    LOADING = "loading"
    SERVING = "serving"
    STOPPING = "stopping"


_SENTENCES = {
    HealthPhase.STARTING: "The server is starting; try again in a moment.",
    HealthPhase.LOADING: "The model is loading; try again in a moment.",
    HealthPhase.STOPPING: "The server is stopping; another one takes over.",
}


class HealthBoard:
    """The one place that knows whether this process serves; both gRPC servers show it.

    Everything is NOT_SERVING until the first `set_`. Only names that are shown are kept: callers
    may ask for any other, as long and as often as they like.
    """

    def __init__(self) -> None:
        self._phase = HealthPhase.STARTING
        self._reason = ""
        self._shown: dict[str, Status] = dict.fromkeys((OVERALL, LIVENESS, INFERENCE), _NOT_SERVING)
        self._changed = asyncio.Event()

    @property
    def phase(self) -> HealthPhase:
        """Return the phase last set."""
        return self._phase

    async def set_loading(self, reason: str = "") -> None:
        """The process lives and does not serve yet; `reason` is the sentence callers get."""
        self._set(HealthPhase.LOADING, reason)

    async def set_serving(self) -> None:
        """Requests are taken."""
        self._set(HealthPhase.SERVING, "")

    async def show(self, service: str, *, serving: bool) -> None:
        """Show one more name beside the three, such as what a readiness probe asks for."""
        self._shown[service] = _SERVING if serving else _NOT_SERVING
        self._tell()

    async def set_stopping(self, reason: str = "") -> None:
        """No new requests are wanted; those that still come are the servicer's decision."""
        self._set(HealthPhase.STOPPING, reason)

    def check(self, service: str) -> health_pb2.HealthCheckResponse:
        """Return what is shown for a name; raises NotFound when nothing is."""
        if service not in self._shown:
            raise NotFound("No such health name is shown here.")
        return health_pb2.HealthCheckResponse(status=self._shown[service])

    async def watch(self, service: str) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield what is shown for a name, now and whenever it is another, without an end."""
        before: Status | None = None
        while True:
            changed, now = self._changed, self._shown.get(service, _UNKNOWN)
            if now != before:
                yield health_pb2.HealthCheckResponse(status=now)
                before = now
            else:
                await changed.wait()

    def require_healthy(self) -> None:
        """Raise Unavailable unless new requests are wanted here: what unary Health answers."""
        if self._phase is not HealthPhase.SERVING:
            raise Unavailable(self._reason or _SENTENCES[self._phase])

    def _set(self, phase: HealthPhase, reason: str) -> None:
        self._phase, self._reason = phase, reason
        serving = _SERVING if phase is HealthPhase.SERVING else _NOT_SERVING
        self._shown |= {OVERALL: _SERVING, LIVENESS: _SERVING, INFERENCE: serving}
        self._tell()

    def _tell(self) -> None:
        """Wake whoever watches; the next change has an event of its own."""
        self._changed.set()
        self._changed = asyncio.Event()


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
            HEALTH_SERVICE,
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
