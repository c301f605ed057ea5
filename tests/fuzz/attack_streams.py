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
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

if __name__ == "__main__":  # under pytest, tests/conftest.py makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import router_processes
import router_world
import serving_servers
import stream_attacks
import tiny_models
from ports import free_ports
from stream_attacks import GRPC_SHAPES, SHAPES, Ports

from lumen_wire.pb import ml_service_pb2 as pb

MIB = 1 << 20
ROUTER_LIMIT_BYTES = 768 * MIB  # the router's in the chart
# What a model server decodes and holds by default, and the server itself.
SERVER_LIMIT_BYTES = (1024 + 256 + 300) * MIB
DEADLINE_S = 5.0
EVERY_S = 0.1
SETTLE_S = 1.0
LEAST_SHARE = 0.95


@dataclass
class Target:
    """A process under attack, and how a good client calls it."""

    name: str
    pid: int
    ports: Ports
    task: str
    limit_bytes: int


@dataclass
class Outcome:
    """What one shape did to one process."""

    calls: int = 0
    answered: int = 0
    slowest_s: float = 0.0
    limit_bytes: int = ROUTER_LIMIT_BYTES
    before_mib: int = 0
    peak_mib: int = 0
    after_mib: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return self.answered / max(self.calls, 1)

    @property
    def held(self) -> bool:
        return self.share >= LEAST_SHARE and self.peak_mib * MIB < self.limit_bytes

    def __str__(self) -> str:
        return (
            f"{self.share:6.1%} of {self.calls:3} calls, slowest {self.slowest_s:4.1f} s,"
            f" MiB {self.before_mib:4} before {self.peak_mib:4} at most {self.after_mib:4} after"
            f"  {'held' if self.held else f'FAILED {dict(self.failures)}'}"
        )


@contextlib.contextmanager
def a_router(folder: Path) -> Iterator[Target]:
    """A router with one scripted pod."""
    (pod_port,) = free_ports(1)
    routes = router_processes.write_routes(folder, [router_world.a_service()], clip=[pod_port])
    told = {
        "LUMEN_ROUTES_FILE": str(routes),
        "LUMEN_MEMORY_LIMIT_BYTES": str(ROUTER_LIMIT_BYTES),
        "LUMEN_LOG_FORMAT": "console",
    }
    with (
        (folder / "router.log").open("wb") as log,
        router_processes.a_pod(pod_port, delay_s=0.0),
        router_processes.a_router(told, stderr=log) as (process, ports),
    ):
        yield Target("router", process.pid, Ports(*ports), "clip_text_embed", ROUTER_LIMIT_BYTES)


@contextlib.contextmanager
def a_server(folder: Path) -> Iterator[Target]:
    """A model server of the fake backend."""
    tiny_models.write_model(folder / "models-cache")
    config = serving_servers.a_config(folder / "models-cache" / "models" / "tiny-clip")
    told = {"LUMEN_BACKEND": "fake", "LUMEN_MEMORY_LIMIT_BYTES": str(SERVER_LIMIT_BYTES)}
    with serving_servers.a_server(config, folder, told) as server:
        ports = Ports(server.grpc_port, server.health_port, server.metrics_port)
        yield Target("server", server.process.pid, ports, "clip_text_embed", SERVER_LIMIT_BYTES)


async def call_once(target: Target) -> None:
    """Ask for one vector on a connection and a stream of its own, as a new client does."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    request = pb.InferRequest(task=target.task, payload=b"a cat", payload_mime="text/plain")
    address = f"127.0.0.1:{target.ports.grpc}"
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        infer = channel.stream_stream(
            stream_attacks.INFER,
            request_serializer=pb.InferRequest.SerializeToString,
            response_deserializer=pb.InferResponse.FromString,
        )
        [answer] = [one async for one in infer(iter([request]), timeout=DEADLINE_S)]
        assert answer.is_final, answer
        assert not answer.HasField("error"), answer


async def scrape_once(target: Target) -> None:
    """Read /metrics as Prometheus does."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.ports.metrics)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert b" 200 " in answer[:20], answer[:80]


Call = Callable[[Target], Awaitable[None]]


async def good_client(target: Target, call: Call, seconds: float, outcome: Outcome) -> None:
    """Call at a steady pace, whatever becomes of the calls before."""

    async def timed() -> None:
        began = time.monotonic()
        try:
            await call(target)
            outcome.answered += 1
        except grpc.aio.AioRpcError as error:
            outcome.failures[f"{error.code().name}: {error.details()[:60]}"] += 1
        except (OSError, AssertionError, ValueError) as error:
            outcome.failures[repr(error)[:80]] += 1
        outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - began)

    async with asyncio.TaskGroup() as calls:
        for _ in range(int(seconds / EVERY_S)):
            outcome.calls += 1
            calls.create_task(timed())
            await asyncio.sleep(EVERY_S)


async def watch_memory(process: psutil.Process, outcome: Outcome) -> None:
    while True:
        outcome.peak_mib = max(outcome.peak_mib, process.memory_info().rss // MIB)
        await asyncio.sleep(0.02)


async def attacked(target: Target, shape: str, attackers: int, seconds: float) -> Outcome:
    """Return what became of the good client and of the memory beside so many attackers."""
    process = psutil.Process(target.pid)
    outcome = Outcome(limit_bytes=target.limit_bytes, before_mib=process.memory_info().rss // MIB)
    watching = asyncio.create_task(watch_memory(process, outcome))
    ports = (target.ports.grpc, target.ports.health, target.ports.metrics)
    command = (stream_attacks.__file__, shape, attackers, *ports)
    attack = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, command), stdout=subprocess.PIPE
    )
    try:
        await attack.stdout.readline()
        await asyncio.sleep(SETTLE_S)
        call = call_once if shape in GRPC_SHAPES else scrape_once
        await good_client(target, call, seconds, outcome)
    finally:
        attack.kill()
        await attack.wait()
        watching.cancel()
    await asyncio.sleep(SETTLE_S)
    outcome.after_mib = process.memory_info().rss // MIB
    return outcome


async def until_serving(target: Target) -> None:
    end = time.monotonic() + serving_servers.WAIT_S
    while True:
        try:
            return await call_once(target)
        except (grpc.aio.AioRpcError, AssertionError, ValueError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)


async def attack_all(target: Target, args: argparse.Namespace) -> bool:
    await until_serving(target)
    held = True
    for shape in args.only or SHAPES:
        outcome = await attacked(target, shape, args.attackers, args.seconds)
        print(f"{target.name} {shape:30} {outcome}", flush=True)
        held = held and outcome.held and psutil.pid_exists(target.pid)
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
