"""The way of one request through the server's files, from the socket to the model and back.

Whoever asks what becomes of a request reads these files, so there should be few of them.
"""

import contextlib
import sys
import threading
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
MOST_OF_THE_WIRE = 17


class Way:
    """The files of ours that run while it is open, in the order of their first call."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self._open = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """See every call in this thread and in those that are started meanwhile."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def of(self, package: str) -> list[str]:
        return [file for file in self.files if file.startswith(f"{package}/")]

    def _called(self, frame, event, _) -> None:
        if not self._open or event != "call":
            return
        path = Path(frame.f_code.co_filename)
        if SERVICES in path.parents and "pb" not in path.parts:
            self.files[str(path.relative_to(SERVICES))] = None


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
        # The search of a label index has two files more.
        ("tiny-bioclip", "bioclip_classify", [{"name": "tiny-species"}], 18),
    ],
)
async def test_a_picture_goes_through_few_files(
    tiny_cache, tmp_path, model, task, label_sets, most
):
    config = a_config(tiny_cache / "models" / model, label_sets=label_sets)
    way = Way()
    with way.installed():
        async with (
            a_server_here(config, tmp_path) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            await channel.channel_ready()
            stub = pb_grpc.InferenceStub(channel)
            with way.watched():
                request = pb.InferRequest(task=task, payload=a_jpeg())
                (answer,) = [answer async for answer in stub.Infer(iter([request]), timeout=30)]

    print(*way.files, sep="\n")
    assert not answer.HasField("error"), answer.error
    assert len(way.of("lumen_serving")) <= most
    assert len(way.of("lumen_wire")) <= MOST_OF_THE_WIRE
