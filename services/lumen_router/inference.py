"""The router's inference, of whatever transport: routed, held, retried, cascaded and counted.

A transport turns what it reads into an `InferenceRequest`, and an `InferenceAnswer` or a WireError
into what it writes. What it holds meanwhile it charges to `budget`, and at `drain` it ends. To
cancel `infer` is to cancel the pod's work.
"""

import asyncio
import time
from typing import Final, Self

from lumen_router.cascade.run import SmartClassify, scene_service
from lumen_router.errors import NothingReady
from lumen_router.metrics import RouterMetrics
from lumen_router.upstream.call import Call, InferenceAnswer, InferenceRequest
from lumen_router.upstream.forward import Forwarder
from lumen_router.upstream.pending_calls import PendingCalls
from lumen_router.upstream.registry import UpstreamRegistry
from lumen_wire.deadline import Deadline
from lumen_wire.errors import WireError
from lumen_wire.meta import parse_request_meta
from lumen_wire.request.budget import ByteBudget
from lumen_wire.server.open_streams import Drain
from lumen_wire.tasks import SMART_CLASSIFY, TaskKind

# The router has read these; a pod knows itself by other names and answers one request a call.
_OWN_KEYS: Final = frozenset({"service", "error_mode"})


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
        with _Counted(self._metrics) as counted:
            routes = self._directory.routes
            if routes is None:
                raise NothingReady("no routes are known yet: try again shortly")
            asked = parse_request_meta(request.meta)
            if request.task == SMART_CLASSIFY.name:
                counted.kind = TaskKind.SMART_CLASSIFY
                scene_by = scene_service(routes, asked.service)
                counted.service = scene_by.name
                answer = await self._smart.answer(request, asked, scene_by, routes, deadline)
            else:
                target = routes.resolve(request.task, asked.service)
                counted.service, counted.kind = target.service.name, target.kind
                meta = {key: value for key, value in request.meta.items() if key not in _OWN_KEYS}
                call = Call.of(request, target, meta, self._hold_s, asked.embedding_space)
                request.payload = b""  # the call has it now
                answer = await self._forwarder.forward(call, deadline)
            answer.meta["service"] = counted.service
        answer.meta["router_ms"] = f"{counted.seconds * 1000:.2f}"
        return answer

    def reject(self, error: WireError) -> None:
        """Count a request that its transport refused before it was whole."""
        self._metrics.request_done("", None, error.status.name, 0.0)


class _Counted:
    """Counts one request when it is over: its service, kind, code and time."""

    __slots__ = ("_metrics", "_started", "kind", "seconds", "service")

    def __init__(self, metrics: RouterMetrics) -> None:
        self._metrics = metrics
        self._started = time.monotonic()
        self.service = ""
        self.kind: TaskKind | None = None
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.seconds = time.monotonic() - self._started
        self._metrics.request_done(self.service, self.kind, _code_of(error), self.seconds)


def _code_of(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    if isinstance(error, WireError):
        return error.status.name
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"
