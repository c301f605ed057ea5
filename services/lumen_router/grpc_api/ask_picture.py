"""`... -m lumen_router.grpc_api.ask_picture ADDRESS PICTURE`: does a picture come through?

`helm test` runs it in the router's image. It asks every service that is ready for the picture's
vector, and ends with 0 only when each gave a good one.
"""

import asyncio
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from google.protobuf import empty_pb2

from lumen_process.printable import printable
from lumen_router.upstream.call import read_answer
from lumen_wire import results
from lumen_wire.channels import open_direct
from lumen_wire.errors import WireError, from_rpc_error
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.request.splitting import split_request

USAGE: Final = 2
# A service that just started on a small board takes its time for the first picture.
ANSWER_S: Final = 60.0
_IMAGE_EMBED: Final = "image_embed"


@dataclass(frozen=True, slots=True)
class PictureAnswer:
    """What one service made of the picture; `trouble` is empty when its vector is good."""

    service: str
    task: str
    dim: int = 0
    seconds: float = 0.0
    trouble: str = ""

    def __str__(self) -> str:
        said = self.trouble or f"{self.dim} numbers in {self.seconds * 1000:.0f} ms"
        return f"{self.service:<12} {self.task:<24} {said}"


def tasks_to_ask(records: Iterable[pb.Capability]) -> list[tuple[str, str]]:
    """Return service and task for every service that makes vectors of pictures."""
    found = []
    for record in records:
        names = [task.name for task in record.tasks if task.name.endswith(_IMAGE_EMBED)]
        if names:
            found.append((record.extra.get("service", record.service_name), names[0]))
    return found


def trouble_with(vector: Iterable[float]) -> str:
    """Say why a vector cannot be right; "" when it can."""
    numbers = list(vector)
    if not numbers or not all(math.isfinite(number) for number in numbers):
        return "answered with no vector of numbers"
    length = math.hypot(*numbers)
    return "" if abs(length - 1) < 1e-2 else f"its vector has length {length:.3f} instead of 1"


async def ask_all(address: str, picture: bytes) -> list[PictureAnswer]:
    """Ask every ready service. Raises WireError when the router tells of none."""
    async with open_direct(address) as channel:
        stub = pb_grpc.InferenceStub(channel)
        try:
            call = stub.StreamCapabilities(empty_pb2.Empty(), timeout=ANSWER_S)
            records = [record async for record in call]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return [await _ask(stub, service, task, picture) for service, task in tasks_to_ask(records)]


async def _ask(
    stub: "pb_grpc.InferenceAsyncStub", service: str, task: str, picture: bytes
) -> PictureAnswer:
    request = pb.InferRequest(correlation_id="picture", task=task, payload=picture)
    started = time.monotonic()
    try:
        call = stub.Infer(iter(split_request(request)), timeout=ANSWER_S)
        answer = await read_answer(call)
        embedding = results.parse_embedding(answer.result, answer.mime)
    except WireError as error:
        return PictureAnswer(service, task, trouble=f"{error.status.name}: {error.message}")
    took_s = time.monotonic() - started
    return PictureAnswer(service, task, embedding.dim, took_s, trouble_with(embedding.vector))


def main(arguments: list[str]) -> int:
    """Ask, say what came, return the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python3 -m lumen_router.grpc_api.ask_picture HOST:PORT PICTURE\n")
        return USAGE
    address, path = arguments
    try:
        asked = asyncio.run(ask_all(address, Path(path).read_bytes()))
    except OSError as error:
        sys.stderr.write(f"{path}: {error.strerror}\n")
        return USAGE
    except WireError as error:
        sys.stderr.write(f"{address}: {printable(error.message)}\n{_REMEDY}\n")
        return 1
    for one in asked:
        sys.stdout.write(f"{printable(str(one))}\n")
    if not asked:
        sys.stderr.write(f"{address}: no service makes vectors of pictures.\n{_REMEDY}\n")
    return 0 if asked and not any(one.trouble for one in asked) else 1


_REMEDY: Final = "What the services of this namespace wait for: kubectl get lms"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
