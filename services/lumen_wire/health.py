"""Health in the words of grpc.health.v1, and whether this process takes requests.

"" and `liveness` say that the process lives; `home_native.v1.Inference` says that it serves.
"""

from enum import StrEnum

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from lumen_wire.errors import Unavailable

OVERALL = ""
LIVENESS = "liveness"
INFERENCE = "home_native.v1.Inference"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Phase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    LOADING = "loading"
    SERVING = "serving"
    STOPPING = "stopping"


_SENTENCES = {
    Phase.STARTING: "The server is starting; try again in a moment.",
    Phase.LOADING: "The model is loading; try again in a moment.",
    Phase.STOPPING: "The server is stopping; another one takes over.",
}


class HealthBoard:
    """The one place that knows whether this process serves; both gRPC servers show it.

    Make it before `server.start()`: everything is NOT_SERVING until the first `set_`.
    """

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._reason = ""
        self.servicer = HealthServicer()
        # The servicer starts with "" SERVING, and without the names it has not heard of.
        # Its own `set` is a coroutine, but this must hold before any other code runs.
        statuses = self.servicer._server_status  # type: ignore[attr-defined]  # noqa: SLF001
        for service in (OVERALL, LIVENESS, INFERENCE):
            statuses[service] = _NOT_SERVING

    @property
    def phase(self) -> Phase:
        """Return the phase last set."""
        return self._phase

    async def set_loading(self, reason: str = "") -> None:
        """The process lives and does not serve yet; `reason` is the sentence callers get."""
        await self._set(Phase.LOADING, reason)

    async def set_serving(self) -> None:
        """Requests are taken."""
        await self._set(Phase.SERVING, "")

    async def show(self, service: str, *, serving: bool) -> None:
        """Show one more name beside the three, such as what a readiness probe asks for."""
        await self.servicer.set(service, _SERVING if serving else _NOT_SERVING)

    async def set_stopping(self, reason: str = "") -> None:
        """No new requests are wanted; those that still come are the servicer's decision."""
        await self._set(Phase.STOPPING, reason)

    def require_serving(self) -> None:
        """Raise Unavailable with a sentence unless the process serves.

        While it stops, requests that were on their way are still answered: only loading refuses.
        """
        if self._phase in {Phase.STARTING, Phase.LOADING}:
            raise self._unavailable()

    def require_healthy(self) -> None:
        """Raise Unavailable unless new requests are wanted here: what unary Health answers."""
        if self._phase is not Phase.SERVING:
            raise self._unavailable()

    def _unavailable(self) -> Unavailable:
        return Unavailable(self._reason or _SENTENCES[self._phase])

    async def _set(self, phase: Phase, reason: str) -> None:
        self._phase, self._reason = phase, reason
        serving = _SERVING if phase is Phase.SERVING else _NOT_SERVING
        await self.servicer.set(OVERALL, _SERVING)
        await self.servicer.set(LIVENESS, _SERVING)
        await self.servicer.set(INFERENCE, serving)
