"""Damaged requests and pictures against a running model server.

    python tests/fuzz/fuzz_server.py [--cases N] [--seed S] [--only STREAM]

The server is a process of its own with the fake backend. Nothing may crash it, be answered with
INTERNAL, stay unanswered, be logged as an error, or make its memory grow without bound.
Streams depend on seed and number alone: `--only` replays one.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

if __name__ == "__main__":  # under pytest, tests/conftest.py makes these importable
    tests = Path(__file__).parents[1]
    sys.path[:0] = [str(tests), str(tests / "worlds")]

import damage
import serving_servers
import tiny_models

from lumen_wire.errors import LOST_STATUS
from lumen_wire.pb import ml_service_pb2 as pb

DEFAULT_SEED = 20261121
CONCURRENT = 8
STREAM_TIMEOUT_S = 60.0
MIB = 1 << 20
# What decoding and eight streams may need at once above an idle server.
MOST_GROWTH_BYTES = 400 * MIB
# What the last quarter may typically need above the second: a large picture passes, leaks stay.
MOST_DRIFT_BYTES = 64 * MIB

GOOD_CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Found(AssertionError):
    """Something that must not happen; the message says how to see it again."""


@dataclass
class Tally:
    """What happened so far."""

    seed: int
    cases: int = 0
    streams: int = 0
    codes: collections.Counter[str] = field(default_factory=collections.Counter)
    rss_bytes: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{code} {count}" for code, count in self.codes.most_common())
        rss = max(self.rss_bytes, default=0) // MIB
        return f"{self.cases} cases in {self.streams} streams; {codes}; at most {rss} MiB resident"


@contextlib.contextmanager
def a_fuzzed_server(folder: Path) -> Iterator[serving_servers.RunningServer]:
    """Start a CLIP server of the fake backend with labels and scenes, and wait until it serves."""
    tiny_models.write_model(folder / "models-cache")
    config = serving_servers.a_config(
        folder / "models-cache" / "models" / "tiny-clip",
        label_sets=[{"name": "tiny-classes"}],
        scenes={"preset": "oct2025"},
    )
    with serving_servers.a_server(config, folder, {"LUMEN_BACKEND": "fake"}) as server:
        server.wait_for_health()
        yield server


def fuzz(server: serving_servers.RunningServer, cases: int, seed: int, only: int = -1) -> Tally:
    """Send at least `cases` requests (or the one stream `only`); raises Found."""
    return asyncio.run(_Fuzzer(server, seed).run(cases, only))


class _Fuzzer:
    def __init__(self, server: serving_servers.RunningServer, seed: int) -> None:
        self._server = server
        self._process = psutil.Process(server.process.pid)
        self._tally = Tally(seed)
        self._pictures = damage.small_pictures(seed)
        self._began = time.monotonic()

    async def run(self, cases: int, only: int) -> Tally:
        idle_bytes = self._process.memory_info().rss
        numbers = itertools.count() if only < 0 else iter([only])
        options = [("grpc.max_receive_message_length", 64 * MIB)]
        async with grpc.aio.insecure_channel(self._server.address, options=options) as channel:
            infer = channel.stream_stream("/home_native.v1.Inference/Infer")
            await self._work_all(infer, numbers, cases)
            await self._still_answers(infer)
        self._check_memory(idle_bytes)
        self._check_log()
        return self._tally

    async def _work_all(self, infer: Any, numbers: Iterator[int], cases: int) -> None:
        found: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(CONCURRENT):
                    workers.create_task(self._work(infer, numbers, cases))
        except* Found as group:
            found += group.exceptions
        if found:
            raise found[0]

    async def _work(self, infer: Any, numbers: Iterator[int], cases: int) -> None:
        while self._tally.cases < cases:
            number = next(numbers, None)
            if number is None:
                return
            stream = damage.a_stream(f"{self._tally.seed}-{number}", self._pictures)
            await self._try(infer, number, stream)
            self._count(stream)

    async def _try(self, infer: Any, number: int, stream: damage.Stream) -> None:
        call = infer(timeout=STREAM_TIMEOUT_S)
        answers: list[pb.InferResponse] = []
        reading = asyncio.ensure_future(_read_all(call, answers))
        try:
            for index, message in enumerate(stream.messages):
                if index == stream.leaves_after:
                    call.cancel()
                    break
                await call.write(message)
            else:
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the server ended the stream first; its status says why
        await reading
        self._judge(number, stream, await call.code(), await call.details(), answers)

    def _judge(
        self,
        number: int,
        stream: damage.Stream,
        code: grpc.StatusCode,
        details: str,
        answers: list[pb.InferResponse],
    ) -> None:
        if stream.leaves_after is not None:
            self._tally.codes["left"] += 1
            return
        if details == LOST_STATUS:
            self._tally.codes["ended while the client wrote"] += 1
            return
        self._tally.codes[code.name] += 1
        if code not in GOOD_CODES:
            raise self._found(number, f"the stream ended with {code.name}: {details}")
        for answer in answers:
            name = _outcome(answer)
            self._tally.codes[f"in-band {name}"] += 1
            if name not in {"result", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}:
                raise self._found(number, f"an answer says {name}: {answer.error.message}")
        if code is grpc.StatusCode.OK and not answers:
            raise self._found(number, "the stream ended with OK and no answer")

    def _count(self, stream: damage.Stream) -> None:
        tally = self._tally
        tally.streams += 1
        tally.cases += stream.requests
        if tally.streams % 100 == 0 or not tally.rss_bytes:
            tally.rss_bytes.append(self._process.memory_info().rss)
        if tally.streams % 1000 == 0:
            print(f"{time.monotonic() - self._began:6.0f} s  {tally}", file=sys.stderr, flush=True)

    async def _still_answers(self, infer: Any) -> None:
        request = pb.InferRequest(task="embed", payload=b"a cat", payload_mime="text/plain")
        answers: list[pb.InferResponse] = []
        call = infer(iter([request.SerializeToString()]), timeout=STREAM_TIMEOUT_S)
        await _read_all(call, answers)
        if await call.code() is not grpc.StatusCode.OK or not answers or not answers[0].result:
            raise Found(f"after {self._tally} the server no longer answers a good request")

    def _check_memory(self, idle_bytes: int) -> None:
        rss = self._tally.rss_bytes
        if max(rss) > idle_bytes + MOST_GROWTH_BYTES:
            raise Found(f"memory grew from {idle_bytes // MIB} to {max(rss) // MIB} MiB")
        quarter = len(rss) // 4
        if quarter == 0:
            return
        before = statistics.median(rss[quarter : 2 * quarter])
        after = statistics.median(rss[-quarter:])
        if after > before + MOST_DRIFT_BYTES:
            raise Found(f"memory keeps growing: from {before / MIB:.0f} to {after / MIB:.0f} MiB")

    def _check_log(self) -> None:
        bad = [line for line in self._server.log().splitlines() if '"level":"error"' in line]
        if bad:
            raise Found(f"the server logged {len(bad)} errors, the first:\n{bad[0]}")

    def _found(self, number: int, what: str) -> Found:
        replay = f"python tests/fuzz/fuzz_server.py --seed {self._tally.seed} --only {number}"
        return Found(f"stream {number}: {what}\nsee it again: {replay}")


async def _read_all(call: Any, answers: list[pb.InferResponse]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        while (raw := await call.read()) is not grpc.aio.EOF:
            answers.append(pb.InferResponse.FromString(raw))


def _outcome(answer: pb.InferResponse) -> str:
    if not answer.HasField("error"):
        return "result"
    code = pb.ErrorCode.Name(answer.error.code).removeprefix("ERROR_CODE_")
    return "RESOURCE_EXHAUSTED" if answer.error.detail.startswith("RESOURCE_EXH") else code


def main() -> int:
    """Fuzz, print what happened, return 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--only", type=int, default=-1, help="replay one stream by its number")
    told = parser.parse_args()
    print(f"seed {told.seed}, {told.cases} cases", flush=True)
    with tempfile.TemporaryDirectory() as folder, a_fuzzed_server(Path(folder)) as server:
        try:
            tally = fuzz(server, told.cases, told.seed, told.only)
        except Found as found:
            print(found)
            return 1
    print(tally)
    return 0


if __name__ == "__main__":
    sys.exit(main())
