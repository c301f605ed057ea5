"""Sixteen attackers with one hostile shape of picture each time, beside a client with good ones.

    python tests/fuzz/attack_pictures.py [--calls N] [--shape WORDS]

The server is a process of its own with the fake backend. For each shape a server starts, the
attackers send their picture as fast as they are answered until the good client has made its calls,
and one line says how many of these came within their deadline, the most memory that the server
held, and what the attackers heard. Ends with 1 when a bar is missed.
"""

import argparse
import asyncio
import collections
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

if __name__ == "__main__":  # under pytest, tests/conftest.py makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import fuzz_server
import hostile_pictures
import serving_servers

from lumen_cli.bench import drawn_jpeg
from lumen_wire.pb import ml_service_pb2 as pb

ATTACKERS = 16
GOOD_DEADLINE_S = 10.0
PACE_S = 0.25
ATTACK_DEADLINE_S = 30.0
LEAST_SHARE = 0.95
# What decoding may take by default, what payloads may, and the server itself.
MOST_RSS_MIB = 1024 + 256 + 300
METHOD = "/home_native.v1.Inference/Infer"


@dataclass
class Heard:
    """What came of one shape."""

    good_s: list[float] = field(default_factory=list)
    good_codes: collections.Counter[str] = field(default_factory=collections.Counter)
    attack_codes: collections.Counter[str] = field(default_factory=collections.Counter)
    peak_mib: int = 0

    @property
    def share(self) -> float:
        return self.good_codes["OK"] / max(1, self.good_codes.total())

    def __str__(self) -> str:
        median = statistics.median(self.good_s)
        told = ", ".join(f"{code} {count}" for code, count in self.attack_codes.most_common())
        return (
            f"good {self.share:4.0%} (median {median:.2f} s, worst {max(self.good_s):.2f} s), "
            f"at most {self.peak_mib} MiB; attackers: {told}"
        )


def attack(
    server: serving_servers.RunningServer,
    picture: bytes,
    calls: int,
    attackers: int = ATTACKERS,
    deadline_s: float = GOOD_DEADLINE_S,
) -> Heard:
    """Let the attackers send that picture while a good client makes so many calls."""
    heard = Heard()
    address = server.address

    async def side_by_side() -> None:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(attackers):
                group.create_task(_attacker(address, picture, over, heard))
            await _good_client(address, calls, deadline_s, heard)
            over.set()

    asyncio.run(side_by_side())
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    heard.peak_mib = int(peak.split()[1]) // 1024
    return heard


async def _attacker(address: str, picture: bytes, over: asyncio.Event, heard: Heard) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        while not over.is_set():
            call = asyncio.ensure_future(_embed(channel, picture, ATTACK_DEADLINE_S))
            ended = asyncio.ensure_future(over.wait())
            await asyncio.wait({call, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if call.done():
                heard.attack_codes[call.result()] += 1
            else:
                call.cancel()
                await asyncio.wait({call})


async def _good_client(address: str, calls: int, deadline_s: float, heard: Heard) -> None:
    picture = drawn_jpeg(1024, 768)
    async with grpc.aio.insecure_channel(address) as channel:
        for _ in range(calls):
            began_at = time.monotonic()
            heard.good_codes[await _embed(channel, picture, deadline_s)] += 1
            heard.good_s.append(time.monotonic() - began_at)
            await asyncio.sleep(PACE_S)


async def _embed(channel: grpc.aio.Channel, picture: bytes, deadline_s: float) -> str:
    """Return the name of the status that one picture got."""
    request = pb.InferRequest(task="image_embed", payload=picture, total=1)
    call: Any = channel.stream_stream(METHOD)(
        iter([request.SerializeToString()]), timeout=deadline_s
    )
    try:
        while (raw := await call.read()) is not grpc.aio.EOF:
            answer = pb.InferResponse.FromString(raw)
            if answer.HasField("error"):
                return pb.ErrorCode.Name(answer.error.code).removeprefix("ERROR_CODE_")
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return str((await call.code()).name)


def main() -> int:
    """Try every shape, print what came of it, return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=40, help="of the good client, for each shape")
    parser.add_argument("--shape", default="", help="only the shapes with these words")
    told = parser.parse_args()
    missed = 0
    for name, picture in hostile_pictures.expensive().items():
        if told.shape not in name:
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            fuzz_server.a_fuzzed_server(Path(folder)) as server,
        ):
            heard = attack(server, picture, told.calls)
        missed += heard.share < LEAST_SHARE or heard.peak_mib > MOST_RSS_MIB
        print(f"{name:32} {len(picture):9,} bytes: {heard}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
