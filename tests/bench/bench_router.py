"""What the router adds to a call, beside the least that any relay in grpc.aio adds.

`python tests/bench/bench_router.py [--calls N] [--cores 0,1]`. One pod, the router, a bare relay
and the client are processes on the same cores; requests are 200 KB pictures that the pod answers
at once with a 768-component vector. The bare relay hands bytes on, one call each, and does nothing
else: no chunks, no routes, no retries; `--go` puts the same relay in Go beside it (go_relay, built
with the machine's Go). Ratios of one run carry over to other machines, absolute figures do not.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import orjson
import uvloop
from processes import cpu_s, free_ports, rss_mib, served
from router_processes import write_routes
from router_world import a_service

from lumen_wire import capabilities, results
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.tasks import TaskKind, names_for

PAYLOAD = b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(200_000) + b"\xff\xd9"
OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]
INFER = "/home_native.v1.Inference/Infer"
TURNS = 5
READY_S = 30.0
GO_RELAY = Path(__file__).with_name("go_relay")
SHARE = 0.3


class Pod(pb_grpc.InferenceServicer):
    """Answers every picture with the same vector."""

    def __init__(self) -> None:
        vector = [random.Random(2).random() for _ in range(768)]
        self._answer = pb.InferResponse(
            is_final=True,
            result=orjson.dumps({"vector": vector, "dim": 768, "model_id": "m"}),
            result_mime=results.EMBEDDING_MIME,
            result_schema=results.EMBEDDING_SCHEMA,
            meta={"dim": "768", "lat_ms": "1", "embedding_space": "s"},
        )

    async def Infer(self, request_iterator, context) -> None:  # noqa: N802
        del request_iterator
        while (request := await context.read()) is not grpc.aio.EOF:
            self._answer.correlation_id = request.correlation_id
            await context.write(self._answer)

    async def StreamCapabilities(self, request, context):  # noqa: N802
        facts = capabilities.ServiceFacts("clip", ["m"], "onnx", 8, extra={"embedding_space": "s"})
        yield capabilities.capability(facts, names_for("clip", [TaskKind.IMAGE_EMBED]))


async def serve_pod(port: int) -> None:
    server = grpc.aio.server(options=OPTIONS)
    pb_grpc.add_InferenceServicer_to_server(Pod(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def serve_relay(port: int, pod_port: int) -> None:
    """Hand bytes on and back: what the router is measured against."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{pod_port}", options=OPTIONS)
    send = channel.unary_stream(INFER)
    ending: set[object] = set()

    async def relay(request_iterator: object, context: grpc.aio.ServicerContext) -> None:
        del request_iterator
        while (message := await context.read()) is not grpc.aio.EOF:
            call = send(message, timeout=30)
            await context.write(await call.read())
            ending.add(call)
            call.add_done_callback(ending.discard)

    server = grpc.aio.server(options=OPTIONS)
    handlers = {"Infer": grpc.stream_stream_rpc_method_handler(relay)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("home_native.v1.Inference", handlers),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


Call = Callable[[], Awaitable[None]]


def stream_per_call(stub: pb_grpc.InferenceStub) -> Call:
    request = pb.InferRequest(
        correlation_id="1", task="image_embed", payload=PAYLOAD, payload_mime="image/jpeg"
    )

    async def call() -> None:
        stream = stub.Infer(timeout=30)
        await stream.write(request)
        await stream.done_writing()
        answer = await stream.read()
        assert answer.meta["dim"] == "768", answer
        assert await stream.read() is grpc.aio.EOF

    return call


async def saturate(call: Call, calls: int, workers: int = 16) -> float:
    """Return calls a second with that many callers in a closed loop."""

    async def worker() -> None:
        for _ in range(calls // workers):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return calls / (time.perf_counter() - began)


async def paced(call: Call, calls: int, rate: float) -> list[float]:
    """Return the milliseconds of calls that arrive at random, `rate` a second."""
    rng = random.Random(3)
    took: list[float] = []

    async def timed(due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)

    due = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            due += rng.expovariate(rate)
            tasks.create_task(timed(due))
    return took


@dataclass
class Way:
    """One way to the pod: what a call takes, and the process that it goes through."""

    name: str
    port: int
    pid: int
    cpu_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    async def connect(self) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=OPTIONS)
        await asyncio.wait_for(self.channel.channel_ready(), READY_S)
        self.call = stream_per_call(pb_grpc.InferenceStub(self.channel))
        await saturate(self.call, 320)

    async def run_full(self, calls: int) -> None:
        before = cpu_s(self.pid)
        self.rates.append(await saturate(self.call, calls))
        self.cpu_ms.append((cpu_s(self.pid) - before) / calls * 1000)

    async def run_paced(self, calls: int, rate: float) -> None:
        cuts = statistics.quantiles(await paced(self.call, calls, rate), n=100)
        self.p50.append(cuts[49])
        self.p99.append(cuts[98])


def median_of(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}"


async def measure(direct: Way, relays: Sequence[Way], router: Way, calls: int) -> None:
    """Measure all ways in turn, so that a slow moment of the machine hits all of them."""
    ways = (direct, *relays, router)
    idle = rss_mib(router.pid)
    for way in ways:
        await way.connect()
    for _ in range(TURNS):
        for way in ways:
            await way.run_full(calls)
    rate = SHARE * statistics.median(router.rates)
    for _ in range(TURNS):
        for way in ways:
            await way.run_paced(calls, rate)
    for way in ways:
        print(
            f"{way.name:8} {median_of(way.rates)} calls/s   CPU {median_of(way.cpu_ms)} ms a call"
            f"   at {rate:.0f}/s: p50 {median_of(way.p50)} ms, p99 {median_of(way.p99)} ms"
        )
    for way in (*relays, router):
        added50 = [a - b for a, b in zip(way.p50, direct.p50, strict=True)]
        added99 = [a - b for a, b in zip(way.p99, direct.p99, strict=True)]
        print(f"{way.name} adds p50 {median_of(added50)} ms, p99 {median_of(added99)} ms")
    for relay in relays:
        ratios = [a / b for a, b in zip(router.cpu_ms, relay.cpu_ms, strict=True)]
        print(f"router CPU is {median_of(ratios)} times that of the bare {relay.name}")
    print(f"router RSS {idle:.0f} MiB before, {rss_mib(router.pid):.0f} MiB after")
    for way in ways:
        await way.channel.close()


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(part) for part in command])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=800)
    parser.add_argument("--cores", default="0,1")
    parser.add_argument("--go", action="store_true", help="measure a bare relay in Go as well")
    parser.add_argument("--pod", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--relay", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.relay:
        uvloop.run(serve_relay(args.relay, args.pod))
        return
    if args.pod:
        uvloop.run(serve_pod(args.pod))
        return
    os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    pod_port, relay_port, go_port = free_ports(3)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pod = stack.enter_context(started(sys.executable, __file__, "--pod", pod_port))
        relay = stack.enter_context(
            started(sys.executable, __file__, "--relay", relay_port, "--pod", pod_port)
        )
        relays = [Way("relay", relay_port, relay.pid)]
        if args.go:
            program = folder / "go_relay"
            subprocess.run(
                ["go", "build", "-o", program, "."], cwd=GO_RELAY, check=True, timeout=600
            )
            in_go = stack.enter_context(started(program, go_port, pod_port))
            relays.append(Way("go relay", go_port, in_go.pid))
        routes = write_routes(folder, [a_service()], clip=[pod_port])
        told = {"LUMEN_ROUTES_FILE": str(routes), "LUMEN_LOG_LEVEL": "warning"}
        router = stack.enter_context(served("lumen_router", told, folder))
        direct = Way("direct", pod_port, pod.pid)
        last = Way("router", router.grpc_port, router.process.pid)
        uvloop.run(measure(direct, relays, last, args.calls))


if __name__ == "__main__":
    main()
