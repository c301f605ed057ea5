"""Health in the words of grpc.health.v1, and whether this process takes requests.

"" and `liveness` say that the process lives; `home_native.v1.Inference` says that it serves.
"""

import asyncio
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import TypeAlias

from grpc_health.v1 import health_pb2

from lumen_wire.errors import NotFound, Unavailable

OVERALL = ""
LIVENESS = "liveness"
INFERENCE = "home_native.v1.Inference"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

Status: TypeAlias = int


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

    def require_serving(self) -> None:
        """Raise Unavailable with a sentence unless the process serves.

        While it stops, requests that were on their way are still answered: only loading refuses.
        """
        if self._phase in {HealthPhase.STARTING, HealthPhase.LOADING}:
            raise self._unavailable()

    def require_healthy(self) -> None:
        """Raise Unavailable unless new requests are wanted here: what unary Health answers."""
        if self._phase is not HealthPhase.SERVING:
            raise self._unavailable()

    def _unavailable(self) -> Unavailable:
        return Unavailable(self._reason or _SENTENCES[self._phase])

    def _set(self, phase: HealthPhase, reason: str) -> None:
        self._phase, self._reason = phase, reason
        serving = _SERVING if phase is HealthPhase.SERVING else _NOT_SERVING
        self._shown |= {OVERALL: _SERVING, LIVENESS: _SERVING, INFERENCE: serving}
        self._tell()

    def _tell(self) -> None:
        """Wake whoever watches; the next change has an event of its own."""
        self._changed.set()
        self._changed = asyncio.Event()
