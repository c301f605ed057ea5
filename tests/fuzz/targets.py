"""What is attacked: a router or a model server of its own, and a good client beside the attackers.

The attack scripts tell what the good client sends and how often; what came of it is counted alike.
"""

import asyncio
import collections
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
import router_processes
import serving_servers
import tiny_models
from stream_attacks import INFER, Ports

from lumen_wire.pb import ml_service_pb2 as pb

MIB = 1 << 20
LEAST_SHARE = 0.95
ROUTER_LIMIT_BYTES = 768 * MIB  # the router's in the chart
# What a model server decodes and holds by default, and the server itself.
SERVER_LIMIT_BYTES = (1024 + 256 + 300) * MIB
# A connection of its own for each channel.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * MIB)]


@dataclass
class Target:
    """A process under attack: where it listens, the memory it may have, what it does well."""

    name: str
    process: psutil.Process
    ports: Ports
    limit_bytes: int
    good_task: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    def rss_bytes(self) -> int:
        return int(self.process.memory_info().rss)


@dataclass
class Heard:
    """What came of one shape: the good client's calls, the memory, what attackers were told."""

    limit_bytes: int
    idle_bytes: int = 0
    peak_bytes: int = 0
    good: collections.Counter[str] = field(default_factory=collections.Counter)
    good_s: list[float] = field(default_factory=list)
    attackers: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def share(self) -> float:
        return self.good["OK"] / max(self.good.total(), 1)

    @property
    def held(self) -> bool:
        return self.share >= LEAST_SHARE and self.peak_bytes < self.limit_bytes

    async def count(self, call: Any) -> None:
        """Count one call of the good client, and how long it took."""
        began_at = time.monotonic()
        self.good[await call] += 1
        self.good_s.append(time.monotonic() - began_at)

    def __str__(self) -> str:
        told = ", ".join(f"{code} {count}" for code, count in self.attackers.most_common())
        heard = f"; attackers: {told}" if told else ""
        return (
            f"good {self.share:.1%} of {self.good.total()} {dict(self.good)}"
            f" (median {statistics.median(self.good_s):.2f} s, worst {max(self.good_s):.2f} s),"
            f" {self.idle_bytes // MIB} MiB before, at most {self.peak_bytes // MIB} MiB{heard}"
            f": {'held' if self.held else 'FAILED'}"
        )


@contextlib.contextmanager
def a_router(
    folder: Path, services: Sequence[Any], task: str, pods: dict[str, int], **told: str
) -> Iterator[Target]:
    """Start a router of these services, and of the pods at these ports."""
    ready = {name: [port] for name, port in pods.items()}
    routes = router_processes.write_routes(folder, services, **ready)
    whole = {
        "LUMEN_ROUTES_FILE": str(routes),
        "LUMEN_LOG_LEVEL": "error",
        "LUMEN_PARENT_PID": str(os.getpid()),
        **told,
    }
    with (
        (folder / "router.log").open("wb") as log,
        router_processes.a_router(whole, stderr=log) as (process, ports),
    ):
        attacked = psutil.Process(process.pid)
        yield Target("router", attacked, Ports(*ports), ROUTER_LIMIT_BYTES, task)


@contextlib.contextmanager
def a_model_server(
    folder: Path,
    spec: tiny_models.TinyModel,
    task: str,
    limit_bytes: int = SERVER_LIMIT_BYTES,
    **told: str,
) -> Iterator[Target]:
    """Start a model server of the fake backend with the model's label sets."""
    root = tiny_models.write_model(folder / "models-cache", spec)
    config = serving_servers.a_config(root, label_sets=[{"name": name} for name in spec.label_sets])
    with serving_servers.a_server(config, folder, {"LUMEN_BACKEND": "fake", **told}) as server:
        server.wait_for_health()
        ports = Ports(server.grpc_port, server.health_port, server.metrics_port)
        yield Target("server", psutil.Process(server.process.pid), ports, limit_bytes, task)


@contextlib.asynccontextmanager
async def a_channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a connection of one's own."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield channel


async def ask(channel: grpc.aio.Channel, request: pb.InferRequest, deadline_s: float) -> str:
    """Send one request on a stream of its own, and say how it went: `OK`, or what it was told."""
    infer = channel.stream_stream(INFER)
    call: Any = infer(iter([request.SerializeToString()]), timeout=deadline_s)
    answered = False
    try:
        while (raw := await call.read()) is not grpc.aio.EOF:
            answer = pb.InferResponse.FromString(raw)
            answered = True
            if answer.HasField("error"):
                return pb.ErrorCode.Name(answer.error.code).removeprefix("ERROR_CODE_")
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    code = str((await call.code()).name)
    return code if answered or code != "OK" else "no answer"


async def ask_anew(address: str, request: pb.InferRequest, deadline_s: float) -> str:
    """Ask on a connection of its own, as a new client does."""
    async with a_channel(address) as channel:
        return await ask(channel, request, deadline_s)


async def until_answered(target: Target, request: pb.InferRequest) -> None:
    """Return when the target answers a good request well."""
    async with asyncio.timeout(serving_servers.WAIT_S):
        while await ask_anew(target.address, request, 5.0) != "OK":  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def watched_memory(target: Target, heard: Heard) -> AsyncIterator[None]:
    """Look at the target's memory all the while, and keep the most that was seen."""

    async def look() -> None:
        while True:
            heard.peak_bytes = max(heard.peak_bytes, target.rss_bytes())
            await asyncio.sleep(0.02)

    heard.idle_bytes = target.rss_bytes()
    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()


def for_seconds(seconds: float) -> Callable[[], bool]:
    """Return what says for so long to go on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end
