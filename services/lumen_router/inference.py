"""The router's inference, of whatever transport: routed, held, retried, cascaded and counted.

A transport turns what it reads into an `InferenceRequest`, and an `InferenceAnswer` or a WireError
into what it writes. What it holds meanwhile it charges to `budget`, and at `drain` it ends. To
cancel `infer` is to cancel the pod's work.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from lumen_router.cascade.run import Picture, SmartClassify, scene_service
from lumen_router.errors import NothingReady
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.table import Routes
from lumen_router.upstream.forward import Call, Forwarder
from lumen_router.upstream.pending_calls import PendingCalls
from lumen_router.upstream.registry import UpstreamRegistry
from lumen_wire.deadline import Deadline
from lumen_wire.errors import WireError
from lumen_wire.meta import RequestMeta, parse_request_meta
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import ByteBudget
from lumen_wire.request.callers import STRANGER, Caller
from lumen_wire.server.open_streams import Drain
from lumen_wire.tasks import SMART_CLASSIFY, TaskKind

# The router has read these; a pod knows itself by other names and answers one request a call.
_OWN_KEYS: Final = frozenset({"service", "error_mode"})


@dataclass(slots=True)
class InferenceRequest:
    """One whole request. `meta["service"]` names the service where the task alone does not.

    The payload is taken out of it once a call has it, so that it is held once and not twice.
    """

    task: str
    payload: bytes
    mime: str
    meta: dict[str, str]
    correlation_id: str = ""
    caller: Caller = STRANGER


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """One whole answer."""

    result: bytes
    mime: str
    schema: str
    meta: dict[str, str]


class InferenceCore:
    """Answers requests from the pods of all services."""

    def __init__(
        self,
        directory: UpstreamRegistry,
        room: PendingCalls,
        metrics: RouterMetrics,
        budget: ByteBudget,
        hold_s: float,
    ) -> None:
        self.budget = budget
        self.drain = Drain()
        self._directory = directory
        self._forwarder = Forwarder(directory, room, metrics)
        self._smart = SmartClassify(self._forwarder, metrics, hold_s)
        self._metrics = metrics
        self._hold_s = hold_s

    async def infer(self, request: InferenceRequest, deadline: Deadline) -> InferenceAnswer:
        """Answer one request and count it, whatever comes of it; raises WireError."""
        counted = _Counted(self._metrics)
        with counted:
            routes = self._directory.routes
            if routes is None:
                raise NothingReady("no routes are known yet: try again shortly")
            asked = parse_request_meta(request.meta)
            if request.task == SMART_CLASSIFY.name:
                answer = await self._classify(request, asked, routes, deadline, counted)
            else:
                answer = await self._forward(request, asked, routes, deadline, counted)
        meta = {**answer.meta, "router_ms": f"{counted.seconds * 1000:.2f}"}
        return InferenceAnswer(answer.result, answer.result_mime, answer.result_schema, meta)

    def reject(self, error: WireError) -> None:
        """Count a request that its transport refused before it was whole."""
        self._metrics.request_done("", None, error.status.name, 0.0)

    async def _forward(
        self,
        request: InferenceRequest,
        asked: RequestMeta,
        routes: Routes,
        deadline: Deadline,
        counted: "_Counted",
    ) -> pb.InferResponse:
        target = routes.resolve(request.task, asked.service)
        counted.service, counted.kind = target.service.name, target.kind
        call = Call(
            target,
            request.payload,
            request.mime,
            {key: value for key, value in request.meta.items() if key not in _OWN_KEYS},
            request.correlation_id,
            asked.embedding_space or "",
            self._hold_s,
            request.caller,
        )
        request.payload = b""  # the call has it now
        return await self._forwarder.forward(call, deadline)

    async def _classify(
        self,
        request: InferenceRequest,
        asked: RequestMeta,
        routes: Routes,
        deadline: Deadline,
        counted: "_Counted",
    ) -> pb.InferResponse:
        counted.kind = TaskKind.SMART_CLASSIFY
        clip = scene_service(routes, asked.service)
        counted.service = clip.name
        picture = Picture(
            request.payload,
            request.mime,
            request.meta,
            asked,
            request.correlation_id,
            request.caller,
        )
        return await self._smart.answer(picture, clip, routes, deadline)


class _Counted:
    """Counts one request when it is over: its service, kind, code and time."""

    __slots__ = ("_metrics", "_started", "kind", "seconds", "service")

    def __init__(self, metrics: RouterMetrics) -> None:
        self._metrics = metrics
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
