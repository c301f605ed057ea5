"""The Infer stream, as server and router both serve it.

Requests of a stream run concurrently and are answered in any order; one that fails, fails alone.
At `max_in_flight` the stream is not read any further, so that the client feels it.
What a request holds is charged to its caller until its answer is written: first the request, then
the answer, which a client that does not read makes the process keep.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from structlog.contextvars import bind_contextvars

from lumen_wire.deadline import DEFAULT_S, Deadline
from lumen_wire.errors import (
    Cancelled,
    DeadlineExceeded,
    ResourceExhausted,
    WireError,
    to_inband,
    to_inband_meta,
)
from lumen_wire.meta import ErrorMode
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import REQUEST_OVERHEAD_BYTES, Account
from lumen_wire.request.callers import Caller, caller_of
from lumen_wire.request.chunks import Assembled, Assembler, ChunkLimits, Outcome, Rejected
from lumen_wire.request.reading import LONGEST_NAME, Unreadable
from lumen_wire.request.splitting import MAX_MESSAGE_BYTES, split_response
from lumen_wire.server.interceptors import REQUEST_ID_META, run_handler
from lumen_wire.server.open_streams import Drain, OpenStreams

Answer = AsyncIterator[pb.InferResponse] | Awaitable[pb.InferResponse]
Handler = Callable[[Assembled, Deadline], Answer]

_T = TypeVar("_T")
_FAILED = "request failed"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How streams are served; one value for all streams of a process."""

    limits: ChunkLimits = field(default_factory=ChunkLimits)
    max_in_flight: int = 64
    default_deadline_s: float = DEFAULT_S
    max_response_bytes: int = MAX_MESSAGE_BYTES
    # How long a client may take to read one message of an answer before its stream is ended.
    write_wait_s: float = 60.0
    # A stream that has got this old ends with OK once nothing is in flight on it.
    max_age_s: float = 600.0
    # How long a lone request's failure waits to learn whether the client has half-closed.
    half_close_grace_s: float = 0.05
    # How long a stream that is to end waits for its first request, which may be under way.
    first_request_grace_s: float = 1.0
    # The shared switch that ends idle streams when the process stops.
    drain: Drain = field(default_factory=Drain)
    # All streams of the process, which bounds them.
    streams: OpenStreams = field(default_factory=OpenStreams)
    on_rejected: Callable[[Rejected], None] | None = None


async def serve_stream(
    context: Any,
    handler: Handler,
    options: StreamOptions | None = None,
    caller: Caller | None = None,
) -> None:
    """Serve one Infer stream to its end.

    `handler` gets a whole request and its deadline, and returns one response, or an iterator of
    responses whose last is final. What it raises becomes the answer. Ids are filled in here.
    Raises the WireError with which the stream is to end; the interceptor makes a status of it.
    A cancelled call cancels every handler of the stream. What it holds is charged to `caller`, by
    default to its peer.
    """
    options = options or StreamOptions()
    account = options.limits.budget.account(*(caller or caller_of(context.peer())))
    await _Stream(context, handler, options, account).serve()


class ClientGone(Cancelled):
    """An answer cannot be written any more; what else runs on the stream is cancelled."""


class GaveWay(ResourceExhausted):
    """The stream is ended for want of room, whatever is under way on it."""


class _Stream:
    """The state of one stream. Everything runs on one event loop, tasks in one TaskGroup."""

    def __init__(
        self, context: Any, handler: Handler, options: StreamOptions, account: Account
    ) -> None:
        self._context = context
        self._handler = handler
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._account = account
        self._assembler = Assembler(options.limits, account=self._account)
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()  # input has come or ended, or a request is done
        self._tasks: asyncio.TaskGroup
        self._reading: asyncio.Timeout
        self._silence: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._requests = 0
        self._in_flight = 0
        self._half_closed = False
        self._ending = False
        self._failure: WireError | None = None
        self._reading_since: float | None = None
        self._writing_since: float | None = None
        self.peer = caller_of(context.peer())[0]

    async def serve(self) -> None:
        """Read to the end, answer everything, then return or raise."""
        age = self._loop.call_later(self._options.max_age_s, self._end_when_idle)
        self._options.drain.add(self._end_when_idle)
        self._options.streams.enter(self)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None) as self._reading:
                        await self._read()
                self._stop_silence()
        except* (ClientGone, GaveWay) as ended:
            self._failure = next(e for e in ended.exceptions if isinstance(e, WireError))
        finally:
            self._options.streams.leave(self)
            age.cancel()
            if self._waiting is not None:
                self._waiting.cancel()
            self._stop_silence()
            self._assembler.close()
            self._account.close()
            self._options.drain.discard(self._end_when_idle)
        if self._failure is not None:
            raise self._failure

    async def _read(self) -> None:
        limit = self._options.max_in_flight
        if self._ending or self._options.drain.begun:
            self._end_when_idle()
        while True:
            if self._in_flight >= limit:
                await self._room()
            self._reading_since = self._loop.time()
            try:
                message = await self._context.read()
            finally:
                self._reading_since = None
            if message is grpc.aio.EOF:
                break
            if isinstance(message, Unreadable):
                self._accept([_rejected(message)])
                continue
            self._accept(self._assembler.push(message))
            del message  # megabytes, for as long as the next one takes to come
            self._watch_silence()
        self._half_closed = True
        self._accept(self._assembler.half_close())
        self._changed.set()

    async def _room(self) -> None:
        """Wait until a request is done; what is not read meanwhile does not count as silence."""
        self._stop_silence()
        while self._in_flight >= self._options.max_in_flight:
            self._changed.clear()
            await self._changed.wait()
        self._assembler.heard()
        self._watch_silence()

    # Silence, age and drain: no timer polls, each fires when there is something to do

    def _watch_silence(self) -> None:
        expiry = self._assembler.next_expiry()
        if expiry is None:
            self._stop_silence()
        elif self._silence is None:
            delay_s = expiry - self._assembler.now()
            self._silence = self._loop.call_later(max(delay_s, 0.0), self._silent)

    def _silent(self) -> None:
        self._silence = None
        self._accept(self._assembler.expire(self._assembler.now()))
        self._watch_silence()
        self._end_if_due()

    def _stop_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _end_when_idle(self) -> None:
        self._ending = True
        if self._requests:
            self._end_if_due()
        elif self._waiting is None:
            # To end it now would answer a request that is under way with OK and nothing else.
            grace_s = self._options.first_request_grace_s
            self._waiting = self._loop.call_later(grace_s, self._end_if_due)

    def _end_if_due(self) -> None:
        if self._ending and not self._in_flight and not self._assembler.open_count:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._half_closed and not self._reading.expired():
            self._reading.reschedule(self._loop.time())

    # Room for others

    @property
    def waiting_since(self) -> float | None:
        """Return since when the client is waited for, to send or to take an answer."""
        since = [at for at in (self._reading_since, self._writing_since) if at is not None]
        return min(since, default=None)

    @property
    def busy(self) -> bool:
        """Say whether requests are in flight."""
        return self._in_flight > 0

    def give_way(self) -> None:
        """End well where nothing was begun, as an aged stream does; with a status otherwise."""
        if self._requests and not self._in_flight and not self._assembler.open_count:
            self._stop_reading()
        else:
            self._tasks.create_task(self._fail())

    async def _fail(self) -> None:
        raise GaveWay(
            "The server is short of memory, and this stream waited longest for its client."
            " Try again in a moment.",
            retry_after_ms=1000,
        )

    # Answers

    def _accept(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._requests += 1
            self._in_flight += 1
            self._changed.set()
            self._tasks.create_task(self._serve_one(outcome))

    async def _serve_one(self, outcome: Outcome) -> None:
        try:
            if isinstance(outcome, Assembled):
                await self._answer(outcome)
            else:
                if self._options.on_rejected is not None:
                    self._options.on_rejected(outcome)
                await self._refuse(outcome, outcome.error, _error_mode(outcome.error_mode))
        finally:
            if isinstance(outcome, Assembled):
                self._account.give_back(outcome.held_bytes)
            self._in_flight -= 1
            self._changed.set()
            self._end_if_due()

    async def _answer(self, request: Assembled) -> None:
        request_id = request.meta.get(REQUEST_ID_META) or request.correlation_id
        if request_id:
            bind_contextvars(request_id=request_id[:128])
        deadline = Deadline.from_context(self._context, self._options.default_deadline_s)
        answer = await run_handler(_called(self._handler, request, deadline), _FAILED)
        if isinstance(answer, pb.InferResponse | WireError):
            await self._say(request, _kept_instead(self._account, request, answer))
            return
        try:
            while (response := await run_handler(_next(answer, deadline), _FAILED)) is not None:
                await self._say(request, response)
                if isinstance(response, WireError):
                    return
        finally:
            if isinstance(answer, AsyncGenerator):
                await answer.aclose()

    async def _say(self, request: Assembled, response: pb.InferResponse | WireError) -> None:
        if isinstance(response, WireError):
            await self._refuse(request, response, _error_mode(request.meta.get("error_mode", "")))
        else:
            await self._write(request, response)

    async def _write(self, request: Assembled | Rejected, response: pb.InferResponse) -> None:
        if not response.correlation_id:
            response.correlation_id = request.correlation_id
        parts = split_response(response, self._options.max_response_bytes)
        async with self._writing:
            self._writing_since = self._loop.time()
            try:
                for part in parts:
                    async with asyncio.timeout(self._options.write_wait_s):
                        await self._context.write(part)
            except TimeoutError as error:
                raise GaveWay("The client did not take its answer in time.") from error
            except (grpc.aio.InternalError, grpc.aio.UsageError) as error:
                # gRPC cancels this call too, but the failing write is often heard of first.
                raise ClientGone("The client left before its answer was written.") from error
            finally:
                self._writing_since = None

    async def _refuse(
        self, request: Assembled | Rejected, error: WireError, mode: ErrorMode
    ) -> None:
        """Answer a failure: as the stream's status where that is asked for, else in-band."""
        if await self._ends_stream(mode):
            self._failure = error
            self._stop_reading()
            return
        response = pb.InferResponse(
            is_final=True, error=to_inband(error), meta=to_inband_meta(error)
        )
        await self._write(request, response)

    async def _ends_stream(self, mode: ErrorMode) -> bool:
        """Say whether a failure is the stream's: never while anything else is in flight on it."""
        alone = self._in_flight == 1 and not self._assembler.open_count and self._failure is None
        if mode is ErrorMode.INBAND or not alone:
            return False
        if mode is ErrorMode.STATUS:
            return True
        # A client's half-close may be a moment behind its only request.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.half_close_grace_s):
                while not self._half_closed and self._requests == 1:
                    self._changed.clear()
                    await self._changed.wait()
        return self._half_closed and self._requests == 1


def _rejected(message: Unreadable) -> Rejected:
    names = (message.correlation_id[:LONGEST_NAME], message.task[:LONGEST_NAME])
    return Rejected(*names, message.error)


async def _called(
    handler: Handler, request: Assembled, deadline: Deadline
) -> pb.InferResponse | AsyncIterator[pb.InferResponse]:
    """Return the handler's one response, marked final, or the iterator of several."""
    answer = handler(request, deadline)
    if isinstance(answer, AsyncIterator):
        return answer
    response = await _within(deadline, answer)
    response.is_final = True
    return response


async def _next(
    answer: AsyncIterator[pb.InferResponse], deadline: Deadline
) -> pb.InferResponse | None:
    return await _within(deadline, anext(answer, None))


async def _within(deadline: Deadline, awaitable: Awaitable[_T]) -> _T:
    """Wait no longer than the deadline, whatever the handler does with it itself."""
    try:
        async with asyncio.timeout(deadline.remaining_s()) as limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise DeadlineExceeded("The request's deadline passed before its answer.") from error


def _error_mode(text: str) -> ErrorMode:
    """Return how a request wants to hear of failure; a mode that does not exist means auto."""
    try:
        return ErrorMode(text.strip().lower())
    except ValueError:
        return ErrorMode.AUTO


def _kept_instead(
    account: Account, request: Assembled, answer: pb.InferResponse | WireError
) -> pb.InferResponse | WireError:
    """Let an answer take its request's place in the account; return what is to be said.

    While it waits to be written nobody needs the payload. An answer that exceeds the caller's
    share is not kept either.
    """
    request.payload = b""
    change = least = REQUEST_OVERHEAD_BYTES - request.held_bytes
    if isinstance(answer, pb.InferResponse):
        change += answer.ByteSize()
    if change > 0 and not account.try_take(change):
        change = least
        answer = ResourceExhausted(
            "This client has not read its earlier answers yet; read them, then ask again.",
            retry_after_ms=1000,
        )
    if change < 0:
        account.give_back(-change)
    request.held_bytes += change
    return answer
