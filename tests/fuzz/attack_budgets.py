"""Sixteen attackers who want a router or a model server to hold more than it should.

    python tests/fuzz/attack_budgets.py [--seconds S] [--only SHAPE]

Router and server are processes of their own on loopback, attackers have a connection each, and a
good client asks beside them on its own. Printed for each shape: the share of the good client's
calls that were answered within their deadline, the most memory the process was seen with, and
what the attackers heard. 1 is returned when a share is below 95 %, or a limit was passed.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

if __name__ == "__main__":  # under pytest, pyproject.toml makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import router_processes
import router_world
import targets
import tiny_models
from ports import free_ports
from stream_attacks import INFER
from targets import MIB, Heard, Target

from lumen_wire.pb import ml_service_pb2 as pb

ATTACKERS = 16
DEADLINE_S = 5.0
PAUSE_S = 0.05
SERVER_LIMIT_BYTES = 2048 * MIB
LABELS = 5_000
PICTURE = tiny_models.a_jpeg(0, 1600, 1200)
# A JPEG that goes on: no container says that it has ended.
PART_BYTES = 256 * 1024
ENDLESS = b"\xff\xd8\xff\xe0" + bytes(PART_BYTES - 4)


Attack = Callable[[Any, int, Heard], Awaitable[None]]


def a_request(
    task: str, payload: bytes = PICTURE, mime: str = "image/jpeg", **fields: Any
) -> pb.InferRequest:
    """A request whose failure is told in-band, unless its meta says otherwise."""
    meta = {"error_mode": "inband", **fields.pop("meta", {})}
    return pb.InferRequest(task=task, payload=payload, payload_mime=mime, meta=meta, **fields)


async def renew_parts(infer: Any, number: int, heard: Heard) -> None:
    """Fill what the budget gives with parts, and send one more of each request now and then."""
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(a_call(infer, heard)) for _ in range(4)]
        for seq in range(10_000):
            for index, call in enumerate(calls):
                size = PART_BYTES if seq < 64 else 1
                part = a_request(
                    "clip_image_embed",
                    ENDLESS[:size],
                    correlation_id=f"{number}-{index}",
                    seq=seq,
                    total=16_000,
                    offset=min(seq, 64) * PART_BYTES + max(seq - 64, 0),
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
                name = f"{number}-{stream}-{index}"
                request = a_request(
                    "siglip_text_embed", b"a cat", "text/plain", correlation_id=name, meta=meta
                )
                await call.write(request.SerializeToString())
        await asyncio.Event().wait()


async def read_nothing(infer: Any, number: int, heard: Heard) -> None:
    """Ask for the longest answers there are and leave them unread."""
    async with contextlib.AsyncExitStack() as stack:
        for stream in range(4):
            call = await stack.enter_async_context(a_call(infer, heard, reads=False))
            for index in range(2):
                name, meta = f"{number}-{stream}-{index}", {"topk": "4096", "label_format": "path8"}
                request = a_request("bioclip_classify", correlation_id=name, meta=meta)
                await call.write(request.SerializeToString())
                await asyncio.sleep(0.2)
        await asyncio.Event().wait()


async def flood_filters(infer: Any, number: int, heard: Heard) -> None:
    """Ask with a thousand branches, each time others, and for every rank in turn."""
    for turn in range(10_000):
        first = (number * 10_000 + turn) * 7 % LABELS
        terms = ",".join(f"genus=Genus{first + index}" for index in range(1000))
        rank = ("genus", "species", "family")[turn % 3]
        meta = {"include": f"class=Aves,{terms}", "topk": "4096", "rank": rank}
        await answered(infer, heard, a_request("bioclip_classify", meta=meta))


async def flood(infer: Any, number: int, heard: Heard) -> None:
    """Keep 32 good requests in flight, each on a stream of its own, with the longest answers."""

    async def one_after_the_other() -> None:
        for turn in range(10_000):
            request = a_request(
                "bioclip_classify", correlation_id=f"{number}-{turn}", meta={"topk": "4096"}
            )
            await answered(infer, heard, request)

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


async def answered(infer: Any, heard: Heard, request: pb.InferRequest) -> None:
    """Send one request on a stream of its own, and read all that is said to it."""
    async with a_call(infer, heard, reads=False) as call:
        await call.write(request.SerializeToString())
        await call.done_writing()
        await read_all(call, heard)


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
    """Run one shape for some seconds beside a good client on a connection of its own."""
    heard = Heard(target.limit_bytes)
    good = a_request(target.good_task, meta={"error_mode": "status"})
    async with contextlib.AsyncExitStack() as stack:
        own, *channels = [
            await stack.enter_async_context(targets.a_channel(target.address))
            for _ in range(ATTACKERS + 1)
        ]
        await stack.enter_async_context(targets.watched_memory(target, heard))
        bad = [
            asyncio.create_task(persist(shape, channel.stream_stream(INFER), number, heard))
            for number, channel in enumerate(channels)
        ]
        goes_on = targets.for_seconds(seconds)
        while goes_on():
            await heard.count(targets.ask(own, good, DEADLINE_S))
            await asyncio.sleep(PAUSE_S)
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


@contextlib.contextmanager
def a_router(folder: Path) -> Iterator[Target]:
    """Start a router with one CLIP pod that answers, and a SigLIP service that has none."""
    (port,) = free_ports(1)
    services = [router_world.a_service(), router_world.a_service("siglip", "siglip")]
    with (
        router_processes.a_pod(port),
        targets.a_router(folder, services, "clip_image_embed", {"clip": port}) as target,
    ):
        yield target


@contextlib.contextmanager
def a_router_before_a_server(folder: Path) -> Iterator[Target]:
    """Start a router with one BioCLIP pod, a model server of the fake backend."""
    services = [router_world.a_service("bioclip", "bioclip")]
    with a_model_server(folder) as server:
        pods = {"bioclip": server.ports.grpc}
        with targets.a_router(folder, services, server.good_task, pods) as target:
            yield target


def a_model_server(folder: Path) -> contextlib.AbstractContextManager[Target]:
    """Start a BioCLIP server of the fake backend with a large label set."""
    species = [
        [["Animalia", "Chordata", "Aves", "O", f"F{row % 500}", f"Genus{row}", "vulgaris"], ""]
        for row in range(LABELS)
    ]
    spec = tiny_models.a_bioclip(label_sets={"species": species})
    return targets.a_model_server(folder, spec, "bioclip_image_embed", SERVER_LIMIT_BYTES)


SHAPES = {
    "router: parts renewed": (a_router, renew_parts),
    "router: held calls with fat meta": (a_router, hold_fat_calls),
    "router: valid requests in flood": (a_router_before_a_server, flood),
    "server: valid requests in flood": (a_model_server, flood),
    "server: parts renewed": (a_model_server, renew_parts),
    "server: answers never read": (a_model_server, read_nothing),
    "server: filters of a thousand branches": (a_model_server, flood_filters),
}


async def run(target: Target, shape: Attack, seconds: float) -> Heard:
    """Attack once the target answers."""
    await targets.until_answered(target, a_request(target.good_task))
    return await attack(target, shape, seconds)


def main() -> int:
    """Run every shape, or one; return 1 when one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each shape takes")
    parser.add_argument("--only", choices=SHAPES, help="run one shape alone")
    told = parser.parse_args()
    names = [told.only] if told.only else list(SHAPES)
    held = True
    for name in names:
        start, shape = SHAPES[name]
        with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as target:
            heard = asyncio.run(run(target, shape, told.seconds))
        print(f"{name}: {heard}", flush=True)
        held = held and heard.held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
