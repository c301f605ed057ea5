"""`home_native.v1.Inference` of the router: `lumen_router.inference` over gRPC.

Streams, chunks and error modes are `lumen_wire.server.stream`'s.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from lumen_router.errors import NothingReady
from lumen_router.grpc_api import capabilities
from lumen_router.inference import InferenceCore
from lumen_router.upstream.call import InferenceRequest
from lumen_router.upstream.registry import UpstreamRegistry
from lumen_wire.deadline import Deadline
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.callers import Caller, caller_of
from lumen_wire.request.chunks import Assembled, ChunkLimits
from lumen_wire.server.open_streams import OpenStreams
from lumen_wire.server.stream import StreamOptions, serve_stream


class RouterServicer:
    """The protocol's four calls, for all services behind the router."""

    def __init__(
        self, directory: UpstreamRegistry, inference: InferenceCore, streams: OpenStreams
    ) -> None:
        self._directory = directory
        self._inference = inference
        self._options = StreamOptions(
            limits=ChunkLimits(budget=inference.budget),
            drain=inference.drain,
            streams=streams,
            on_rejected=lambda rejected: inference.reject(rejected.error),
        )

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
        request = InferenceRequest(
            assembled.task,
            assembled.payload,
            assembled.mime,
            assembled.meta,
            assembled.correlation_id,
            caller,
        )
        assembled.payload = b""  # the request has it now
        answer = await self._inference.infer(request, deadline)
        return pb.InferResponse(
            correlation_id=assembled.correlation_id,
            is_final=True,
            result=answer.result,
            result_mime=answer.mime,
            result_schema=answer.schema,
            meta=answer.meta,
        )
