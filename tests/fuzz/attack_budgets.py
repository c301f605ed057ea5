"""Sixteen attackers who want a router or a model server to hold more than it should.

    python tests/fuzz/attack_budgets.py [--seconds S] [--only SHAPE]

Router and server are processes of their own on loopback, attackers have a connection each, and a
good client asks beside them on its own. Printed for each shape: the share of the good client's
calls that were answered within their deadline, the most memory the process was seen with, and
what the attackers heard. 1 is returned when a share is below 95 %, or a limit was passed.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

if __name__ == "__main__":  # under pytest, tests/conftest.py makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import router_processes
import router_world
import serving_servers
import tiny_models
from ports import free_ports

from lumen_wire.pb import ml_service_pb2 as pb

MIB = 1 << 20
ATTACKERS = 16
DEADLINE_S = 5.0
LEAST_SHARE = 0.95
ROUTER_LIMIT_BYTES = 768 * MIB
SERVER_LIMIT_BYTES = 2048 * MIB
LABELS = 5_000
INFER = "/home_native.v1.Inference/Infer"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * MIB)]
PICTURE = tiny_models.a_jpeg(0, 1600, 1200)
# A JPEG that goes on: no container says that it has ended.
PART_BYTES = 256 * 1024
ENDLESS = b"\xff\xd8\xff\xe0" + bytes(PART_BYTES - 4)


@dataclass
class Target:
    """What is attacked: where it listens, its process, the memory it may have."""

    address: str
    process: psutil.Process
    limit_bytes: int
    good_task: str
    peak_bytes: int = 0


@dataclass
class Heard:
    """What came of it: the good client's calls, and what attackers were told."""

    good: collections.Counter[str] = field(default_factory=collections.Counter)
    attackers: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def share(self) -> float:
        return self.good["OK"] / max(sum(self.good.values()), 1)


Attack = Callable[[Any, int, Heard], Awaitable[None]]


async def renew_parts(infer: Any, number: int, heard: Heard) -> None:
    """Fill what the budget gives with parts, and send one more of each request now and then."""
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(a_call(infer, heard)) for _ in range(4)]
        for seq in range(10_000):
            for index, call in enumerate(calls):
                size = PART_BYTES if seq < 64 else 1
                part = pb.InferRequest(
                    correlation_id=f"{number}-{index}",
                    task="clip_image_embed",
                    payload=ENDLESS[:size],
                    payload_mime="image/jpeg",
                    seq=seq,
                    total=16_000,
                    offset=min(seq, 64) * PART_BYTES + max(seq - 64, 0),
                    meta={"error_mode": "inband"},
                )
                await call.write(part.SerializeToString())
            await asyncio.sleep(0.05)


async def hold_fat_calls(infer: Any, number: int, heard: Heard) -> None:
    """Let 160 calls wait for a service without a pod, with all the meta that is read."""
    meta = {f"k{entry}": "\N{SNOWMAN}" * 1000 for entry in range(60)}
    async with contextlib.AsyncExitStack() as stack:
        for stream in range(4):
            call = await stack.enter_async_context(a_call(infer, heard))
            for index in range(40):
                request = pb.InferRequest(
                    correlation_id=f"{number}-{stream}-{index}",
                    task="siglip_text_embed",
                    payload=b"a cat",
                    payload_mime="text/plain",
                    meta={**meta, "error_mode": "inband"},
                )
                await call.write(request.SerializeToString())
        await asyncio.Event().wait()


async def read_nothing(infer: Any, number: int, heard: Heard) -> None:
    """Ask for the longest answers there are and leave them unread."""
    async with contextlib.AsyncExitStack() as stack:
        for stream in range(4):
            call = await stack.enter_async_context(a_call(infer, heard, reads=False))
            for index in range(2):
                request = pb.InferRequest(
                    correlation_id=f"{number}-{stream}-{index}",
                    task="bioclip_classify",
                    payload=PICTURE,
                    payload_mime="image/jpeg",
                    meta={"topk": "4096", "label_format": "path8", "error_mode": "inband"},
                )
                await call.write(request.SerializeToString())
                await asyncio.sleep(0.2)
        await asyncio.Event().wait()


async def flood_filters(infer: Any, number: int, heard: Heard) -> None:
    """Ask with a thousand branches, each time others, and for every rank in turn."""
    for turn in range(10_000):
        first = (number * 10_000 + turn) * 7 % LABELS
        terms = ",".join(f"genus=Genus{first + index}" for index in range(1000))
        request = pb.InferRequest(
            task="bioclip_classify",
            payload=PICTURE,
            payload_mime="image/jpeg",
            meta={
                "include": f"class=Aves,{terms}",
                "topk": "4096",
                "rank": ("genus", "species", "family")[turn % 3],
                "error_mode": "inband",
            },
        )
        async with a_call(infer, heard, reads=False) as call:
            await call.write(request.SerializeToString())
            await call.done_writing()
            await read_all(call, heard)


async def flood(infer: Any, number: int, heard: Heard) -> None:
    """Keep 32 good requests in flight, each on a stream of its own, with the longest answers."""

    async def one_after_the_other() -> None:
        for turn in range(10_000):
            request = pb.InferRequest(
                correlation_id=f"{number}-{turn}",
                task="bioclip_classify",
                payload=PICTURE,
                payload_mime="image/jpeg",
                meta={"topk": "4096", "error_mode": "inband"},
            )
            async with a_call(infer, heard, reads=False) as call:
                await call.write(request.SerializeToString())
                await call.done_writing()
                await read_all(call, heard)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(32):
            tasks.create_task(one_after_the_other())


@contextlib.asynccontextmanager
async def a_call(infer: Any, heard: Heard, *, reads: bool = True) -> AsyncIterator[Any]:
    """Open a stream; what it says is counted, unless nobody `reads`."""
    call = infer()
    reading = asyncio.create_task(read_all(call, heard)) if reads else None
    try:
        yield call
    finally:
        call.cancel()
        if reading is not None:
            await asyncio.gather(reading, return_exceptions=True)


async def read_all(call: Any, heard: Heard) -> None:
    """Count how every answer, and in the end the stream, turned out."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while (raw := await call.read()) is not grpc.aio.EOF:
            answer = pb.InferResponse.FromString(raw)
            if answer.is_final:
                failed = answer.HasField("error")
                heard.attackers[outcome(answer.error) if failed else "result"] += 1


def outcome(error: pb.Error) -> str:
    return error.detail.partition(":")[0] or pb.ErrorCode.Name(error.code)


async def attack(target: Target, shape: Attack, seconds: float) -> Heard:
    """Run one shape for some seconds beside a good client."""
    heard = Heard()
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(target.address, OPTIONS))
            for _ in range(ATTACKERS + 1)
        ]
        good = channels.pop().stream_stream(INFER)
        bad = [
            asyncio.create_task(persist(shape, channel.stream_stream(INFER), number, heard))
            for number, channel in enumerate(channels)
        ]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            heard.good[await ask(good, target.good_task)] += 1
            target.peak_bytes = max(target.peak_bytes, target.process.memory_info().rss)
            await asyncio.sleep(0.05)
        for task in bad:
            task.cancel()
        await asyncio.gather(*bad, return_exceptions=True)
    return heard


async def persist(shape: Attack, infer: Any, number: int, heard: Heard) -> None:
    """Begin anew whenever the stream is ended."""
    while True:
        try:
            await shape(infer, number, heard)
        except grpc.aio.AioRpcError as error:
            heard.attackers[error.code().name] += 1
        except asyncio.InvalidStateError:
            heard.attackers["stream ended"] += 1
        await asyncio.sleep(0.2)


async def ask(infer: Any, task: str) -> str:
    """Send a good picture and say how it went."""
    request = pb.InferRequest(
        task=task, payload=PICTURE, payload_mime="image/jpeg", meta={"error_mode": "status"}
    )
    call = infer(timeout=DEADLINE_S)
    try:
        await call.write(request.SerializeToString())
        await call.done_writing()
        raw = await call.read()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        raw = grpc.aio.EOF
    if raw is not grpc.aio.EOF and not pb.InferResponse.FromString(raw).HasField("error"):
        call.cancel()
        return "OK"
    return (await call.code()).name


@contextlib.contextmanager
def a_router(folder: Path) -> Iterator[Target]:
    """Start a router with one CLIP pod that answers, and a SigLIP service that has none."""
    (pod_port,) = free_ports(1)
    services = [router_world.a_service(), router_world.a_service("siglip", "siglip")]
    routes = router_processes.write_routes(folder, services, clip=[pod_port])
    with router_processes.a_pod(pod_port), a_router_of(routes) as (address, process):
        yield Target(address, process, ROUTER_LIMIT_BYTES, "clip_image_embed")


@contextlib.contextmanager
def a_router_before_a_server(folder: Path) -> Iterator[Target]:
    """Start a router with one BioCLIP pod, a model server of the fake backend."""
    with a_model_server(folder) as server:
        services = [router_world.a_service("bioclip", "bioclip")]
        port = int(server.address.rpartition(":")[2])
        routes = router_processes.write_routes(folder, services, bioclip=[port])
        with a_router_of(routes) as (address, process):
            yield Target(address, process, ROUTER_LIMIT_BYTES, server.good_task)


@contextlib.contextmanager
def a_router_of(routes: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start a router of these routes."""
    told = {
        "LUMEN_ROUTES_FILE": str(routes),
        "LUMEN_LOG_LEVEL": "error",
        "LUMEN_PARENT_PID": str(os.getpid()),
    }
    with router_processes.a_router(told) as (process, ports):
        yield f"127.0.0.1:{ports[0]}", psutil.Process(process.pid)


@contextlib.contextmanager
def a_model_server(folder: Path) -> Iterator[Target]:
    """Start a BioCLIP server of the fake backend with a large label set."""
    species = [
        [["Animalia", "Chordata", "Aves", "O", f"F{row % 500}", f"Genus{row}", "vulgaris"], ""]
        for row in range(LABELS)
    ]
    spec = tiny_models.a_bioclip(label_sets={"species": species})
    root = tiny_models.write_model(folder / "models-cache", spec)
    config = serving_servers.a_config(root, label_sets=[{"name": "species"}])
    with serving_servers.a_server(config, folder, {"LUMEN_BACKEND": "fake"}) as server:
        server.wait_for_health()
        process = psutil.Process(server.process.pid)
        yield Target(server.address, process, SERVER_LIMIT_BYTES, "bioclip_image_embed")


SHAPES = {
    "router: parts renewed": (a_router, renew_parts),
    "router: held calls with fat meta": (a_router, hold_fat_calls),
    "router: valid requests in flood": (a_router_before_a_server, flood),
    "server: valid requests in flood": (a_model_server, flood),
    "server: parts renewed": (a_model_server, renew_parts),
    "server: answers never read": (a_model_server, read_nothing),
    "server: filters of a thousand branches": (a_model_server, flood_filters),
}


async def run(name: str, seconds: float) -> bool:
    """Run one shape against a process of its own; say whether it held."""
    start, shape = SHAPES[name]
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as target:
        async with asyncio.timeout(60):
            async with grpc.aio.insecure_channel(target.address, OPTIONS) as channel:
                good = channel.stream_stream(INFER)
                while await ask(good, target.good_task) != "OK":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        idle_bytes = target.process.memory_info().rss
        heard = await attack(target, shape, seconds)
    held = heard.share >= LEAST_SHARE and target.peak_bytes < target.limit_bytes
    print(
        f"{name}: good {heard.share:.1%} of {sum(heard.good.values())} {dict(heard.good)},"
        f" {idle_bytes // MIB} MiB idle, at most {target.peak_bytes // MIB} MiB,"
        f" attackers heard {dict(heard.attackers)}: {'held' if held else 'FAILED'}",
        flush=True,
    )
    return held


def main() -> int:
    """Run every shape, or one; return 1 when one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each shape takes")
    parser.add_argument("--only", choices=SHAPES, help="run one shape alone")
    told = parser.parse_args()
    names = [told.only] if told.only else list(SHAPES)
    held = [asyncio.run(run(name, told.seconds)) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
