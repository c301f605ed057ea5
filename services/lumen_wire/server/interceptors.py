"""One place where errors become gRPC status, request ids are bound, and calls are counted.

Servicers raise; they never abort. What is not a WireError is logged here, once, and the caller
gets Internal with the request id that leads to the log line.
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from structlog.contextvars import bind_contextvars, get_contextvars

from lumen_wire.errors import Cancelled, Internal, WireError, to_trailing_metadata

REQUEST_ID_METADATA = "x-request-id"
REQUEST_ID_META = "request_id"

_LONGEST_ID = 128

_log = structlog.get_logger("lumen.wire")
_process = os.urandom(3).hex()
_counter = itertools.count(1)

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=Exception)
Metadata = Iterable[tuple[str, str | bytes]]
# (request or request iterator, context) -> the response, or None when it wrote by itself.
Call = Callable[[Any, Any], Awaitable[Any]]


class CallMetrics(Protocol):
    """What a deployable counts about its calls; method and code are closed sets."""

    def call_done(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Count one call that has ended."""


def new_request_id() -> str:
    """Return an id that no other request of this process has."""
    return f"{_process}-{next(_counter):x}"


def request_id_of(metadata: Metadata | None, meta: Mapping[str, str] | None = None) -> str:
    """Return the caller's id from a request's meta or a call's metadata, or a new one."""
    said: str | bytes | None = meta.get(REQUEST_ID_META) if meta else None
    if not said and metadata:
        said = next((value for key, value in metadata if key == REQUEST_ID_METADATA), None)
    if isinstance(said, str) and 0 < len(said) <= _LONGEST_ID and said.isprintable():
        return said
    return new_request_id()


async def run_handler(awaitable: Awaitable[_T], event: str) -> _T | WireError:
    """Return what `awaitable` returns, or the error that its caller is told instead.

    A failure of our own is logged as `event`, with its cause. Cancellation of the caller's task
    passes; that of something it waited for is an answer, or the client would wait for ever.
    """
    try:
        return await awaitable
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Cancelled("The request was given up before it was answered.")
    except Exception as error:  # noqa: BLE001  (one of four places; see the module's docstring)
        return to_wire_error(error, event)


def to_wire_error(error: Exception, event: str) -> WireError:
    """Return what a caller is told about a failure, and log it if it is our own."""
    if isinstance(error, WireError) and not (isinstance(error, Internal) and not error.logged):
        return without_frames(error)
    _log.error(event, exc_info=error)
    without_frames(error)
    if not isinstance(error, Internal):
        request_id = get_contextvars().get("request_id", "unknown")
        error = Internal(
            f"The server failed on this request; its log has the cause ({request_id})."
        )
    error.logged = True
    return error


def without_frames(error: _Error) -> _Error:
    """Return the error itself, which no longer holds what its callers held.

    Whoever waits for a future has it among its locals, the future has the error, and the error's
    traceback has that frame: a circle that keeps a request's payload until the next collection.
    1.4 GiB of pictures that were refused were seen at once.
    """
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def intercept(method: str, call: Call, metrics: CallMetrics | None = None) -> Call:
    """Return `call` with the error table, the request id in the log, and the count around it.

    Wrapped once when the server is built: gRPC's own interceptors run for every call.
    """
    event = f"{method} failed"

    async def guarded(request: Any, context: Any) -> Any:
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        try:
            # Each call is a task of its own, and the binding ends with it.
            bind_contextvars(request_id=request_id_of(context.invocation_metadata()))
            try:
                response = await call(request, context)
            except Exception as error:  # noqa: BLE001  (likewise)
                wire_error = to_wire_error(error, event)
                code = wire_error.status
                trailing = to_trailing_metadata(wire_error)
                await context.abort(wire_error.status, wire_error.message, trailing)
            code = grpc.StatusCode.OK
            return response
        finally:
            if metrics is not None:
                metrics.call_done(method, code, time.perf_counter() - began)

    return guarded


def stream_writer(generator: Callable[[Any, Any], AsyncIterator[Any]]) -> Call:
    """Return a call that writes what an async generator yields."""

    async def call(request: Any, context: Any) -> None:
        async for message in generator(request, context):
            await context.write(message)

    return call
