"""`home_native.v1.Inference` of the router: who is meant, where it goes, how it is counted.

Streams, chunks and error modes are `lumen_wire.server.stream`'s; retries and holding are
`forward`'s.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from lumen_router.cascade.run import Picture, SmartClassify, scene_service
from lumen_router.errors import NothingReady
from lumen_router.grpc_api import capabilities
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.table import Routes
from lumen_router.upstream.forward import Call, Forwarder
from lumen_router.upstream.registry import UpstreamRegistry
from lumen_wire.deadline import Deadline
from lumen_wire.errors import WireError
from lumen_wire.meta import RequestMeta, parse_request_meta
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.callers import Caller, caller_of
from lumen_wire.request.chunks import Assembled
from lumen_wire.server.stream import StreamOptions, serve_stream
from lumen_wire.tasks import SMART_CLASSIFY, TaskKind

# The router has read these; a pod knows itself by other names and answers one request a call.
_OWN_KEYS: Final = frozenset({"service", "error_mode"})


class RouterServicer:
    """The protocol's four calls, for all services behind the router."""

    def __init__(
        self,
        directory: UpstreamRegistry,
        forwarder: Forwarder,
        metrics: RouterMetrics,
        options: StreamOptions,
        hold_s: float,
    ) -> None:
        self._directory = directory
        self._forwarder = forwarder
        self._smart = SmartClassify(forwarder, metrics, hold_s)
        self._metrics = metrics
        self._options = options
        self._hold_s = hold_s

    async def Infer(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.InferRequest],
        context: grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse],
    ) -> None:
        """Answer every request of the stream."""
        del request_iterator  # the wire reads by context.read(), which is quicker
        # Whom a client tells of is not asked: pods are told of the client itself.
        caller = caller_of(context.peer())
        await serve_stream(context, partial(self._answer, caller), self._options, caller)

    async def GetCapabilities(  # noqa: N802
        self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.Capability:
        """Return all services in one record; raises NothingReady."""
        del request, context
        return capabilities.merged(self._directory)

    async def StreamCapabilities(  # noqa: N802
        self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.Capability]:
        """Yield one record per service; raises NothingReady."""
        del request, context
        for record in capabilities.records(self._directory):
            yield record

    async def Health(  # noqa: N802
        self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Empty:
        """Answer while a service is ready, or was a moment ago; raises NothingReady."""
        del request, context
        if not self._directory.any_ready():
            raise NothingReady("no service is ready: try again shortly", retry_after_ms=1000)
        return Empty()

    async def _answer(
        self, caller: Caller, assembled: Assembled, deadline: Deadline
    ) -> pb.InferResponse:
        """Answer one request and count it, whatever comes of it."""
        counted = _Counted(self._metrics, caller)
        with counted:
            routes = self._directory.routes
            if routes is None:
                raise NothingReady("no routes are known yet: try again shortly")
            asked = parse_request_meta(assembled.meta)
            if assembled.task == SMART_CLASSIFY.name:
                answer = await self._classify(assembled, asked, routes, deadline, counted)
            else:
                answer = await self._forward(assembled, asked, routes, deadline, counted)
        answer.correlation_id = assembled.correlation_id
        answer.meta["router_ms"] = f"{counted.seconds * 1000:.2f}"
        return answer

    async def _forward(
        self,
        assembled: Assembled,
        asked: RequestMeta,
        routes: Routes,
        deadline: Deadline,
        counted: "_Counted",
    ) -> pb.InferResponse:
        target = routes.resolve(assembled.task, asked.service)
        counted.service, counted.kind = target.service.name, target.kind
        call = Call(
            target,
            assembled.payload,
            assembled.mime,
            {key: value for key, value in assembled.meta.items() if key not in _OWN_KEYS},
            assembled.correlation_id,
            asked.embedding_space or "",
            self._hold_s,
            counted.caller,
        )
        assembled.payload = b""  # the call has it now
        return await self._forwarder.forward(call, deadline)

    async def _classify(
        self,
        assembled: Assembled,
        asked: RequestMeta,
        routes: Routes,
        deadline: Deadline,
        counted: "_Counted",
    ) -> pb.InferResponse:
        counted.kind = TaskKind.SMART_CLASSIFY
        clip = scene_service(routes, asked.service)
        counted.service = clip.name
        picture = Picture(
            assembled.payload,
            assembled.mime,
            assembled.meta,
            asked,
            assembled.correlation_id,
            counted.caller,
        )
        return await self._smart.answer(picture, clip, routes, deadline)


class _Counted:
    """Counts one request of a caller when it is over: its service, kind, code and time."""

    __slots__ = ("_metrics", "_started", "caller", "kind", "seconds", "service")

    def __init__(self, metrics: RouterMetrics, caller: Caller) -> None:
        self._metrics = metrics
        self.caller = caller
        self._started = time.monotonic()
        self.service = ""
        self.kind: TaskKind | None = None
        self.seconds = 0.0

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.seconds = time.monotonic() - self._started
        self._metrics.request_done(self.service, self.kind, _code_of(error), self.seconds)


def _code_of(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    if isinstance(error, WireError):
        return error.status.name
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"
