"""The load generator: closed loop, or open loop at a fixed rate, over the native protocol.

Requests are serialised once and sent as bytes, so that the generator's own CPU stays small; what it
does use is measured and reported, because on one machine it is taken from the server.
An open loop measures each latency from the moment the call was due, so that a stalled server is not
flattered by calls that were never sent.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from lumen_wire import errors
from lumen_wire.channels import open_outward
from lumen_wire.pb import ml_service_pb2 as pb

# Bytes in, bytes out: no serialiser is named.
if TYPE_CHECKING:
    Method = grpc.aio.StreamStreamMultiCallable[bytes, bytes]
    Call = grpc.aio.StreamStreamCall[bytes, bytes]

METHOD = "/home_native.v1.Inference/Infer"
OK = "OK"
# A call that an open loop could not send, because too many were under way already.
NOT_SENT = "NOT_SENT"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, how, and for how long.

    `requests` are serialised InferRequests, sent in turn. `rate` per second makes it an open loop
    with at most `concurrency` calls under way; without it `concurrency` workers send one after
    the other. `streams` is "kept" (one a worker, as photo clients do) or "call" (one a call).
    """

    target: str
    requests: tuple[bytes, ...]
    concurrency: int = 8
    rate: float | None = None
    duration_s: float = 10.0
    max_calls: int | None = None
    warmup_s: float = 1.0
    timeout_s: float = 30.0
    streams: str = "kept"
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: seconds since the start of the run, milliseconds it took, gRPC code's name."""

    at_s: float
    latency_ms: float
    code: str
    said: str = ""


@dataclass(slots=True)
class Run:
    """A run as it goes: what was measured after the warm-up."""

    samples: list[Sample] = field(default_factory=list)
    started_s: float = 0.0
    seconds: float = 0.0
    generator_cpu_s: float = 0.0


async def run_load(load: Load, on_sample: Callable[[Sample], None] | None = None) -> Run:
    """Send the load and return what was measured; calls made during warm-up are not in it."""
    async with _channel(load) as channel:
        method: Method = channel.stream_stream(METHOD)
        await _warm_up(load, method)
        run = Run(started_s=time.perf_counter())
        cpu_s = time.process_time()
        send = _Sender(load, method, run, on_sample)
        if load.rate is None:
            await _closed_loop(load, send, run)
        else:
            await _open_loop(load, send, run)
        run.seconds = time.perf_counter() - run.started_s
        run.generator_cpu_s = time.process_time() - cpu_s
        return run


async def probe(load: Load) -> Sample:
    """Send one call and return its sample: is anybody there, and does it like the request?"""
    async with _channel(load) as channel:
        run = Run(started_s=time.perf_counter())
        method: Method = channel.stream_stream(METHOD)
        send = _Sender(load, method, run)
        await send.once(load.requests[0], time.perf_counter())
        return run.samples[0]


@asynccontextmanager
async def _channel(load: Load) -> AsyncIterator[grpc.aio.Channel]:
    options = [
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        ("grpc.max_send_message_length", 64 * 1024 * 1024),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with open_outward(load.target, options) as channel:
        yield channel


async def _warm_up(load: Load, method: "Method") -> None:
    if load.warmup_s <= 0:
        return
    run = Run(started_s=time.perf_counter())
    # A closed loop even where the load is an open one.
    warm = replace(load, duration_s=load.warmup_s, max_calls=None)
    await _closed_loop(warm, _Sender(warm, method, run), run)


async def _closed_loop(load: Load, send: "_Sender", run: Run) -> None:
    end_s = run.started_s + load.duration_s
    numbers: Iterator[int] = itertools.count()
    bodies = itertools.cycle(load.requests)

    async def worker() -> None:
        try:
            while time.perf_counter() < end_s:
                if load.max_calls is not None and next(numbers) >= load.max_calls:
                    return
                if load.streams == "kept":
                    await send.on_kept_stream(next(bodies))
                else:
                    await send.once(next(bodies), time.perf_counter())
        finally:
            send.close_kept_stream()

    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency):
            group.create_task(worker())


async def _open_loop(load: Load, send: "_Sender", run: Run) -> None:
    assert load.rate is not None
    calls = int(load.rate * load.duration_s)
    if load.max_calls is not None:
        calls = min(calls, load.max_calls)
    under_way: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        for number, body in zip(range(calls), itertools.cycle(load.requests), strict=False):
            due_s = run.started_s + number / load.rate
            wait_s = due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if len(under_way) >= load.concurrency:
                send.record(due_s, NOT_SENT)
                continue
            task = group.create_task(send.once(body, due_s))
            under_way.add(task)
            task.add_done_callback(under_way.discard)


@dataclass(slots=True)
class _Sender:
    """Sends serialised requests and records their samples."""

    load: Load
    method: "Method"
    run: Run
    on_sample: Callable[[Sample], None] | None = None
    kept: "dict[asyncio.Task[None] | None, Call]" = field(default_factory=dict)

    def record(self, due_s: float, code: str, said: str = "") -> None:
        """Record a call that was due at `due_s` and ends now, with what the server said."""
        now_s = time.perf_counter()
        sample = Sample(due_s - self.run.started_s, (now_s - due_s) * 1000, code, said)
        self.run.samples.append(sample)
        if self.on_sample is not None:
            self.on_sample(sample)

    async def once(self, body: bytes, due_s: float) -> None:
        """Send one request on a stream of its own."""
        call = self.method(
            iter((body,)), timeout=self.load.timeout_s, metadata=self.load.metadata or None
        )
        try:
            code, said = await self._read_answer(call)
        except grpc.aio.AioRpcError as error:
            code, said = error.code().name, error.details() or ""
        finally:
            call.cancel()
        self.record(due_s, code, said)

    async def on_kept_stream(self, body: bytes) -> None:
        """Send one request on this worker's stream, a fresh one after a failure."""
        worker = asyncio.current_task()
        call = self.kept.get(worker)
        if call is None:
            call = self.kept[worker] = self.method(metadata=self.load.metadata or None)
        due_s = time.perf_counter()
        try:
            async with asyncio.timeout(self.load.timeout_s):
                await call.write(body)
                code, _ = await self._read_answer(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "UNAVAILABLE"
            self.close_kept_stream()
        except TimeoutError:
            code = "DEADLINE_EXCEEDED"
            self.close_kept_stream()
        self.record(due_s, code)

    def close_kept_stream(self) -> None:
        """End this worker's stream."""
        call = self.kept.pop(asyncio.current_task(), None)
        if call is not None:
            call.cancel()

    async def _read_answer(self, call: "Call") -> tuple[str, str]:
        """Return the code of an answer and, with a failure, its sentence."""
        while True:
            raw = await call.read()
            if raw is grpc.aio.EOF:
                code = await call.code()
                if code is grpc.StatusCode.OK:
                    return "NO_ANSWER", ""
                return code.name, await call.details() or ""
            try:
                answer = pb.InferResponse.FromString(cast("bytes", raw))
            except DecodeError:
                return "NO_ANSWER", "it does not speak this protocol"
            if answer.HasField("error"):
                # One of gRPC's names, whatever a server writes there: codes are counted and shown.
                failure = errors.from_inband(answer.error, answer.meta)
                return failure.status.name, str(failure)
            if answer.is_final:
                return OK, ""
