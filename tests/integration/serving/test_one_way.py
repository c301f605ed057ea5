"""The way of one request through the server's files, from the socket to the model and back.

Whoever asks what becomes of a request reads these files, so there should be few of them.
"""

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from serving_servers import a_config
from tiny_models import a_jpeg

import lumen_serving
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.progress import Progress
from lumen_serving.metrics import ServerMetrics
from lumen_serving.servicer import InferenceServicer, ReadinessGate, ServingContext
from lumen_serving.settings import ServerSettings
from lumen_serving.startup import assembly
from lumen_serving.startup.load import warm_up
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.server.grpc_server import bind, build_server
from lumen_wire.server.health import HealthBoard
from lumen_wire.server.stream import StreamOptions

SERVICES = Path(lumen_serving.__file__).parents[1]
# Of the protocol, where the router goes as well; its generated code is not counted.
MOST_OF_THE_WIRE = 14


@contextlib.contextmanager
def files_that_run() -> Iterator[dict[str, None]]:
    """Yield our files in the order of their first call, in this thread and those started here."""
    files: dict[str, None] = {}

    def called(frame, event, _) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and SERVICES in path.parents and "pb" not in path.parts:
            files[str(path.relative_to(SERVICES))] = None

    threading.setprofile(called)
    sys.setprofile(called)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextlib.asynccontextmanager
async def a_server_here(config, folder) -> AsyncIterator[str]:
    """A server in this process, with the fake backend; its address."""
    fetch_and_verify(config, folder, folder, Progress())
    env = {"LUMEN_BACKEND": "fake", "LUMEN_CACHE_DIR": str(folder)}
    warm = warm_up(config, ServerSettings.from_environment(env))
    metrics, board, door = ServerMetrics(), HealthBoard(), ReadinessGate()
    server = build_server(InferenceServicer(door, board, metrics), board, metrics=metrics)
    port = bind(server, "127.0.0.1", 0)
    async with assembly.assembled(warm, metrics) as service:
        record = assembly.capability(warm, service.kinds)
        door.open(ServingContext(config.family, service, record, StreamOptions()))
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)


@pytest.mark.parametrize(
    ("model", "task", "label_sets", "most"),
    [
        ("tiny-clip", "clip_scene_classify", [], 16),
        # A label index is searched in four files more: codes, scores, and what comes close.
        ("tiny-bioclip", "bioclip_classify", [{"name": "tiny-species"}], 20),
    ],
)
async def test_a_picture_goes_through_few_files(
    tiny_cache, tmp_path, model, task, label_sets, most
):
    config = a_config(tiny_cache / "models" / model, label_sets=label_sets)
    with files_that_run() as files:
        async with (
            a_server_here(config, tmp_path) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            await channel.channel_ready()
            stub = pb_grpc.InferenceStub(channel)
            request = pb.InferRequest(task=task, payload=a_jpeg())
            files.clear()
            (answer,) = [answer async for answer in stub.Infer(iter([request]), timeout=30)]
            way = list(files)

    print(*way, sep="\n")
    assert not answer.HasField("error"), answer.error
    packages = Counter(file.partition("/")[0] for file in way)
    assert packages["lumen_serving"] <= most
    assert packages["lumen_wire"] <= MOST_OF_THE_WIRE
