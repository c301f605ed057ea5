"""Hostile connections and streams against a running router and a running model server.

    python tests/fuzz/attack_streams.py [--attackers N] [--seconds S] [--only SHAPE] [--target T]

For every shape of `stream_attacks`: so many attackers for so many seconds, and a good client beside
them. Prints the share of the good client's calls that were answered within their deadline, and the
resident memory before, at most, and after. Both processes are told a memory limit.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # under pytest, pyproject.toml makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import router_processes
import router_world
import stream_attacks
import targets
import tiny_models
from ports import free_ports
from stream_attacks import GRPC_SHAPES, SHAPES
from targets import Heard, Target

from lumen_wire.pb import ml_service_pb2 as pb

DEADLINE_S = 5.0
EVERY_S = 0.1
SETTLE_S = 1.0
LIMIT = "LUMEN_MEMORY_LIMIT_BYTES"
GOOD = pb.InferRequest(task="clip_text_embed", payload=b"a cat", payload_mime="text/plain")


@contextlib.contextmanager
def a_router(folder: Path) -> Iterator[Target]:
    """A router with one scripted pod."""
    (port,) = free_ports(1)
    services, told = [router_world.a_service()], {LIMIT: str(targets.ROUTER_LIMIT_BYTES)}
    with (
        router_processes.a_pod(port, delay_s=0.0),
        targets.a_router(folder, services, GOOD.task, {"clip": port}, **told) as target,
    ):
        yield target


def a_server(folder: Path) -> contextlib.AbstractContextManager[Target]:
    """A model server of the fake backend."""
    told = {LIMIT: str(targets.SERVER_LIMIT_BYTES)}
    return targets.a_model_server(folder, tiny_models.TinyModel(), GOOD.task, **told)


async def scrape(target: Target) -> str:
    """Read /metrics as Prometheus does."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", target.ports.metrics)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
            answer = await reader.read()
            writer.close()
    except OSError as error:  # TimeoutError among them
        return repr(error)[:80]
    return "OK" if b" 200 " in answer[:20] else repr(answer[:80])


async def good_client(target: Target, shape: str, seconds: float, heard: Heard) -> None:
    """Call at a steady pace, whatever becomes of the calls before."""

    def call():
        if shape in GRPC_SHAPES:
            return targets.ask_anew(target.address, GOOD, DEADLINE_S)
        return scrape(target)

    async with asyncio.TaskGroup() as calls:
        for _ in range(int(seconds / EVERY_S)):
            calls.create_task(heard.count(call()))
            await asyncio.sleep(EVERY_S)


async def attacked(target: Target, shape: str, attackers: int, seconds: float) -> Heard:
    """Return what became of the good client and of the memory beside so many attackers."""
    heard = Heard(target.limit_bytes)
    ports = (target.ports.grpc, target.ports.health, target.ports.metrics)
    command = (stream_attacks.__file__, shape, attackers, *ports)
    async with targets.watched_memory(target, heard):
        attack = await asyncio.create_subprocess_exec(
            sys.executable, *map(str, command), stdout=subprocess.PIPE
        )
        try:
            await attack.stdout.readline()
            await asyncio.sleep(SETTLE_S)
            await good_client(target, shape, seconds, heard)
        finally:
            attack.kill()
            await attack.wait()
    await asyncio.sleep(SETTLE_S)
    return heard


async def attack_all(target: Target, args: argparse.Namespace) -> bool:
    await targets.until_answered(target, GOOD)
    held = True
    for shape in args.only or SHAPES:
        heard = await attacked(target, shape, args.attackers, args.seconds)
        after = f"{target.rss_bytes() // targets.MIB} MiB after"
        print(f"{target.name} {shape:30} {heard}, {after}", flush=True)
        held = held and heard.held and target.process.is_running()
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attackers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", action="append", choices=list(SHAPES))
    parser.add_argument("--target", choices=["router", "server"], action="append")
    args = parser.parse_args()
    held = True
    for name, start in (("router", a_router), ("server", a_server)):
        if args.target and name not in args.target:
            continue
        with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as target:
            held = asyncio.run(attack_all(target, args)) and held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
