"""Sixteen attackers with one hostile shape of picture each time, beside a client with good ones.

    python tests/fuzz/attack_pictures.py [--calls N] [--shape WORDS]

The server is a process of its own with the fake backend. For each shape a server starts, the
attackers send their picture as fast as they are answered until the good client has made its calls,
and one line says how many of these came within their deadline, the most memory that the server
held, and what the attackers heard. Ends with 1 when a bar is missed.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # under pytest, pyproject.toml makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import fuzz_server
import hostile_pictures
import serving_servers
import targets
from targets import Heard

from lumen_cli.bench import drawn_jpeg
from lumen_wire.pb import ml_service_pb2 as pb

ATTACKERS = 16
GOOD_DEADLINE_S = 10.0
PACE_S = 0.25
ATTACK_DEADLINE_S = 30.0


def attack(
    server: serving_servers.RunningServer,
    picture: bytes,
    calls: int,
    attackers: int = ATTACKERS,
    deadline_s: float = GOOD_DEADLINE_S,
) -> Heard:
    """Let the attackers send that picture while a good client makes so many calls."""
    heard = Heard(targets.SERVER_LIMIT_BYTES)

    async def side_by_side() -> None:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(attackers):
                group.create_task(_attacker(server.address, picture, over, heard))
            async with targets.a_channel(server.address) as channel:
                good = _embedding(drawn_jpeg(1024, 768))
                for _ in range(calls):
                    await heard.count(targets.ask(channel, good, deadline_s))
                    await asyncio.sleep(PACE_S)
            over.set()

    asyncio.run(side_by_side())
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    heard.peak_bytes = int(peak.split()[1]) * 1024
    return heard


async def _attacker(address: str, picture: bytes, over: asyncio.Event, heard: Heard) -> None:
    async with targets.a_channel(address) as channel:
        while not over.is_set():
            asked = targets.ask(channel, _embedding(picture), ATTACK_DEADLINE_S)
            call = asyncio.ensure_future(asked)
            ended = asyncio.ensure_future(over.wait())
            await asyncio.wait({call, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if call.done():
                heard.attackers[call.result()] += 1
            else:
                call.cancel()
                await asyncio.wait({call})


def _embedding(picture: bytes) -> pb.InferRequest:
    return pb.InferRequest(task="image_embed", payload=picture, total=1)


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
        missed += not heard.held
        print(f"{name:32} {len(picture):9,} bytes: {heard}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
