"""A server around `serve_stream` on loopback whose handler does what the request's task says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import empty_pb2

from lumen_wire.deadline import Deadline
from lumen_wire.errors import InvalidArgument, NotFound, ResourceExhausted
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.request.chunks import Assembled
from lumen_wire.server.grpc_server import ServerOptions, bind, build_server
from lumen_wire.server.health import HealthBoard, HealthPhase
from lumen_wire.server.stream import StreamOptions, serve_stream

WAIT_S = 60
MIB = 1024 * 1024


@dataclass
class Script:
    """A servicer whose answers depend on the task's name alone.

    echo: the payload's length; bad, missing, full: that error; boom: a fault of ours;
    hold: waits for `release`; large: 10 MiB; parts: an iterator of three; dropped: waits for a
    future that is cancelled; late: waits for ever.
    """

    # Patient with the half-close, which comes late on a busy machine.
    options: StreamOptions = field(default_factory=lambda: StreamOptions(half_close_grace_s=2.0))
    board: HealthBoard = field(default_factory=HealthBoard)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    running: int = 0
    most_running: int = 0
    cancelled: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def Infer(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        await serve_stream(context, self.answer, self.options)

    async def GetCapabilities(self, request: Any, context: Any) -> pb.Capability:  # noqa: N802
        self._require_loaded()
        return pb.Capability(service_name="script", protocol_version="1.0.0")

    async def StreamCapabilities(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.Capability]:
        self._require_loaded()
        yield pb.Capability(service_name="script", protocol_version="1.0.0")

    async def Health(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802
        self.board.require_healthy()
        return empty_pb2.Empty()

    def _require_loaded(self) -> None:
        if self.board.phase is not HealthPhase.STOPPING:
            self.board.require_healthy()

    def answer(self, request: Assembled, deadline: Deadline) -> Any:
        # Here, not before the stream is read: gRPC's client loses a status that overtakes a write.
        self._require_loaded()
        if request.task == "parts":
            return self._parts()
        return self._one(request)

    async def _one(self, request: Assembled) -> pb.InferResponse:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.release()
        try:
            return await self._result(request)
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        finally:
            self.running -= 1

    async def _result(self, request: Assembled) -> pb.InferResponse:
        match request.task:
            case "bad":
                raise InvalidArgument("Unknown task: bad")
            case "missing":
                raise NotFound('There is no service "x".')
            case "full":
                raise ResourceExhausted("The queue is full.", retry_after_ms=70)
            case "boom":
                raise RuntimeError("a fault")
            case "hold":
                await self.release.wait()
            case "late":
                await asyncio.Event().wait()
            case "dropped":
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            case "large":
                return pb.InferResponse(result=b"x" * (10 * MIB), result_mime="m")
        return pb.InferResponse(result=str(len(request.payload)).encode(), meta=request.meta)

    async def _parts(self) -> AsyncIterator[pb.InferResponse]:
        for seq in range(3):
            yield pb.InferResponse(result=b"x", seq=seq, total=3, offset=seq, is_final=seq == 2)


@contextlib.asynccontextmanager
async def a_script_server(
    script: Script, options: ServerOptions | None = None, metrics: Any = None
) -> AsyncIterator[tuple[grpc.aio.Channel, Any, int]]:
    """Serve the script; yields a channel, an Inference stub and the port."""
    async with listening(build_server(script, script.board, options, metrics)) as port:
        await script.board.set_serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, pb_grpc.InferenceStub(channel), port


@contextlib.asynccontextmanager
async def listening(server: grpc.aio.Server, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Start a server on a free port, which is yielded; it is stopped in the end."""
    port = bind(server, host, 0)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def a_text(task: str = "echo", payload: bytes = b"a cat", **fields: Any) -> pb.InferRequest:
    return pb.InferRequest(task=task, payload=payload, payload_mime="text/plain", **fields)


async def answers(stub: Any, requests: Iterable[pb.InferRequest]) -> list[pb.InferResponse]:
    """Send all, half-close, and return all answers."""
    return [response async for response in stub.Infer(iter(requests), timeout=WAIT_S)]


async def status_of(stub: Any, *requests: pb.InferRequest) -> tuple[grpc.StatusCode, str]:
    """Return how the stream ended."""
    call = stub.Infer(iter(requests), timeout=WAIT_S)
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for _ in call:
            pass
    return await call.code(), await call.details()


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the loop runs meanwhile."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0)
