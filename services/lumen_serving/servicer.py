"""`home_native.v1.Inference`: from messages to the service and back, and nothing else.

Streams, chunks and error modes are the wire's; what a task means is the service's. This module
imports nothing heavy, since the port is open before the model's libraries are.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import orjson
from google.protobuf.empty_pb2 import Empty

from lumen_serving.errors import StillLoading, Stopping, UnknownTask
from lumen_serving.metrics import ServerMetrics
from lumen_serving.requests import Request
from lumen_wire.deadline import Deadline
from lumen_wire.errors import WireError
from lumen_wire.meta import normalise_mime, parse_request_meta
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.callers import Caller, told_caller_of
from lumen_wire.request.chunks import Assembled, Rejected
from lumen_wire.server.health import HealthBoard
from lumen_wire.server.stream import StreamOptions, serve_stream
from lumen_wire.tasks import TaskKind, resolve

if TYPE_CHECKING:
    from lumen_serving.service import ModelService

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ServingContext:
    """What is behind the open door: the service, its record, and how its streams are served."""

    family: str
    service: "ModelService"
    capability: pb.Capability
    streams: StreamOptions


class ReadinessGate:
    """Shut while the model loads, open while it serves, shut for good when the server stops."""

    def __init__(self) -> None:
        self._inside: ServingContext | None = None
        self._closed = False

    def open(self, inside: ServingContext) -> None:
        """Let requests in."""
        self._inside = inside

    def close(self) -> None:
        """Take nothing new; what is inside goes on."""
        self._closed = True

    def enter(self) -> ServingContext:
        """Return what is inside; raises StillLoading or Stopping."""
        if self._closed:
            raise Stopping("The server is stopping. Send the request to another one.")
        if self._inside is None:
            raise StillLoading("The model is still loading. Send the request again later.")
        return self._inside

    def kind_of(self, task: str) -> TaskKind | None:
        """Return what a task's name means here, None when nothing (yet)."""
        return resolve(task, self._inside.family) if self._inside is not None else None


class InferenceServicer:
    """The protocol's four calls for one model of one family."""

    def __init__(self, door: ReadinessGate, board: HealthBoard, metrics: ServerMetrics) -> None:
        self._door = door
        self._board = board
        self._metrics = metrics

    async def Infer(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.InferRequest],
        context: grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse],
    ) -> None:
        """Answer every request of the stream."""
        del request_iterator  # the wire reads by context.read(), which is quicker
        inside = self._door.enter()
        options = replace(inside.streams, on_rejected=self._count_rejected)
        caller = told_caller_of(context.peer(), context.invocation_metadata())
        await serve_stream(context, partial(self._answer, caller), options, caller)

    async def GetCapabilities(  # noqa: N802
        self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.Capability:
        """Return the one record of this server."""
        del request, context
        return self._door.enter().capability

    async def StreamCapabilities(  # noqa: N802
        self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.Capability]:
        """Yield the one record of this server."""
        del request, context
        yield self._door.enter().capability

    async def Health(  # noqa: N802
        self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Empty:
        """Answer while new requests are wanted here, else Unavailable."""
        del request, context
        self._board.require_healthy()
        return Empty()

    async def _answer(
        self, caller: Caller, assembled: Assembled, deadline: Deadline
    ) -> pb.InferResponse:
        """Answer one request and count it, whatever comes of it."""
        began_at = time.monotonic()
        kind, code = self._door.kind_of(assembled.task), grpc.StatusCode.INTERNAL
        try:
            response = await self._infer(caller, kind, assembled, deadline)
            code = grpc.StatusCode.OK
        except WireError as error:
            code = error.status
            raise
        except asyncio.CancelledError:
            late = deadline.expired
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        finally:
            self._count(kind, code, time.monotonic() - began_at)
        response.meta["lat_ms"] = str(round((time.monotonic() - began_at) * 1000))
        return response

    def _count_rejected(self, rejected: Rejected) -> None:
        self._count(self._door.kind_of(rejected.task), rejected.error.status, 0.0)

    def _count(self, kind: TaskKind | None, code: grpc.StatusCode, seconds: float) -> None:
        # The name in the request may be anything; what it stands for is a closed set.
        self._metrics.request_done(kind.value if kind else _UNKNOWN, code.name, seconds)

    async def _infer(
        self, caller: Caller, kind: TaskKind | None, assembled: Assembled, deadline: Deadline
    ) -> pb.InferResponse:
        service = self._door.enter().service
        if kind is None or kind not in service.kinds:
            raise UnknownTask(f"Unknown task: {assembled.task}")
        answer = await service.answer(
            Request(
                kind=kind,
                payload=assembled.payload,
                mime=normalise_mime(assembled.mime),
                meta=parse_request_meta(assembled.meta),
                deadline_at=deadline.at,
                caller=caller,
            )
        )
        return pb.InferResponse(
            correlation_id=assembled.correlation_id,
            is_final=True,
            result=answer.result,
            meta=answer.meta,
            result_mime=answer.mime,
            result_schema=answer.schema,
        )


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class ServerPhase(StrEnum):
    """Loading, then serving, then stopping; a start that fails goes to stopping at once."""

    LOADING = "loading"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(slots=True)
class ServerStatus:
    """The phase, and facts that are added as they become known."""

    phase: ServerPhase = ServerPhase.LOADING
    facts: Mapping[str, Any] = field(default_factory=dict)

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the JSON of `/status`."""
        document = {"phase": self.phase, "rssBytes": resident_bytes(), **self.facts}
        return "application/json", orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def resident_bytes() -> int:
    """Return the memory that this process holds, 0 where the kernel does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
