"""The calls beside Infer: what they may send is small, and nobody waits long for it.

gRPC buffers a message for as long as somebody waits for it, and only one size holds for all calls
of a port. So a call that needs no request never reads it, which leaves it at the first 64 KiB,
and the others read at few places: who has waited there longest gives way to who comes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_reflection.v1alpha import reflection, reflection_pb2

from lumen_wire.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from lumen_wire.server.interceptors import Call

LONGEST_REQUEST_BYTES = 4096
CALL_S = 30.0
_PAUSE_S = 2.0

_Request = TypeVar("_Request", bound=Message)


class SmallRequests:
    """Where the requests of small calls are read; one for all calls of a server."""

    def __init__(self, most: int = 16, wait_s: float = 10.0) -> None:
        self._most = most
        self._wait_s = wait_s
        self._waiting: dict[asyncio.Timeout, None] = {}  # longest first

    async def read(self, context: Any, kind: type[_Request]) -> _Request | None:
        """Return the next request of a call, None when there is none any more.

        Raises InvalidArgument when it is too long or no such message, ResourceExhausted when it
        took too long to come.
        """
        if len(self._waiting) >= self._most:
            # Who is ended comes again at once: without this, they would do nothing else here.
            await asyncio.sleep(_PAUSE_S)
            self._make_room()
        try:
            async with asyncio.timeout(self._wait_s) as patience:
                self._waiting[patience] = None
                raw = await context.read()
        except TimeoutError as error:
            raise ResourceExhausted(
                "The request did not come in time; send it at once and whole.", retry_after_ms=1000
            ) from error
        finally:
            self._waiting.pop(patience, None)
        return None if raw is grpc.aio.EOF else _parsed(raw, kind)

    def _make_room(self) -> None:
        if len(self._waiting) < self._most:
            return
        longest = next(iter(self._waiting))
        del self._waiting[longest]
        if not longest.expired():
            longest.reschedule(asyncio.get_running_loop().time())


def _parsed(raw: bytes, kind: type[_Request]) -> _Request:
    if len(raw) > LONGEST_REQUEST_BYTES:
        raise InvalidArgument(
            f"The request has {len(raw)} bytes; at most {LONGEST_REQUEST_BYTES} are read here."
        )
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidArgument(f"The message cannot be read as {kind.DESCRIPTOR.name}.") from error


def brief(call: Call) -> Call:
    """Return `call` with an end: who does not take its answer in time is told so, or not at all."""

    async def bounded(request: Any, context: Any) -> Any:
        try:
            async with asyncio.timeout(CALL_S) as limit:
                return await call(request, context)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(f"The call took longer than {CALL_S:.0f} s.") from error

    return bounded


def reflected(
    names: tuple[str, ...], requests: SmallRequests
) -> Callable[[Any, Any], AsyncIterator[reflection_pb2.ServerReflectionResponse]]:
    """Return server reflection for these services, reading as small calls do."""
    servicer: Any = reflection.aio.ReflectionServicer(names)

    async def asked(context: Any) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        request = await requests.read(context, reflection_pb2.ServerReflectionRequest)
        # Tools leave the stream open: one that asks nothing more has ended well.
        with contextlib.suppress(ResourceExhausted):
            while request is not None:
                yield request
                request = await requests.read(context, reflection_pb2.ServerReflectionRequest)

    def answers(
        request: Any, context: Any
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        del request
        answered: AsyncIterator[reflection_pb2.ServerReflectionResponse] = (
            servicer.ServerReflectionInfo(asked(context), context)
        )
        return answered

    return answers
