"""A router in this process, pods that answer as told, and a client: all on loopback.

Loaded by name from `tests/conftest.py`. `python router_world.py PORT FAMILY DELAY_S` runs one pod
as a process, for tests that kill it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import cluster_objects
import grpc
import grpc.aio
import orjson
from google.protobuf.empty_pb2 import Empty

from lumen_manifest.spec.enums import Family
from lumen_router.main import RouterProcess
from lumen_router.routes.from_file import RoutesFile
from lumen_router.routes.table import pod_task
from lumen_router.settings import RouterSettings
from lumen_wire import capabilities, results
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.request.splitting import split_response
from lumen_wire.tasks import TASKS, TaskKind, names_for, resolve

BOUND_S = 60.0
JPEG = b"\xff\xd8\xff\xe0" + b"x" * 60 + b"\xff\xd9"
ANIMAL = {"animal": 0.8, "vehicle": 0.15, "food": 0.05}
VEHICLE = {"vehicle": 0.8, "animal": 0.15, "food": 0.05}

Script = Callable[[pb.InferRequest, Any], Awaitable[pb.InferResponse | list[pb.InferResponse]]]


async def until(holds: Callable[[], object], what: str = "") -> None:
    """Return when `holds()` does; fails after the bound."""
    try:
        async with asyncio.timeout(BOUND_S):
            while not holds():  # noqa: ASYNC110 - the state is another component's
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or holds}") from None


def labels(rows: Mapping[str, float], model_id: str = "demo", **meta: str) -> pb.InferResponse:
    return pb.InferResponse(
        is_final=True,
        result=results.labels_v1(list(rows.items()), model_id),
        result_mime=results.LABELS_MIME,
        result_schema=results.LABELS_SCHEMA,
        meta={"labels_count": str(len(rows)), "lat_ms": "1", "model_ms": "0.5", **meta},
    )


def embedding(model_id: str = "demo", **meta: str) -> pb.InferResponse:
    return pb.InferResponse(
        is_final=True,
        result=results.embedding_v1([1.0, 0.0, 0.0, 0.0], model_id),
        result_mime=results.EMBEDDING_MIME,
        result_schema=results.EMBEDDING_SCHEMA,
        meta={"dim": "4", **meta},
    )


class Refusal(Exception):
    """A script raises it to end the call with a status."""

    def __init__(self, code: grpc.StatusCode, message: str = "", pushback_ms: int | None = None):
        self.code = code
        self.message = message
        self.trailing = (
            () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        )


@dataclass
class ScriptedPod(pb_grpc.InferenceServicer):
    """A model server that answers by `script`, and remembers what it was asked."""

    family: str = "clip"
    space: str = "space-1"
    kinds: frozenset[TaskKind] | None = None
    scenes: Mapping[str, float] = field(default_factory=lambda: ANIMAL)
    species: Mapping[str, float] = field(default_factory=lambda: {"robin": 0.9, "penguin": 0.1})
    port: int = 0
    script: Script | None = None
    loading: bool = False
    delay_s: float = 0.0
    requests: list[pb.InferRequest] = field(default_factory=list)
    time_left: list[float | None] = field(default_factory=list)
    cancelled: int = 0
    answered: int = 0
    learnt: int = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def model_id(self) -> str:
        return f"demo-{self.family}"

    async def start(self) -> None:
        """Listen, after `kill` on the same port again."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 64 << 20),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ]
        )
        pb_grpc.add_InferenceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def kill(self) -> None:
        """End every call and connection at once."""
        await self._server.stop(None)

    async def StreamCapabilities(self, request, context) -> AsyncIterator[pb.Capability]:  # noqa: N802
        if self.loading:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "loading")
        self.learnt += 1
        yield self.record()

    def record(self) -> pb.Capability:
        offered = {task.kind for task in TASKS if task.family == self.family}
        facts = capabilities.ServiceFacts(
            self.family,
            [self.model_id],
            "onnx",
            4,
            ["fp32"],
            {"embedding_space": self.space, "batch_size": "8"},
        )
        kinds = offered if self.kinds is None else self.kinds
        return capabilities.capability(facts, names_for(self.family, kinds))

    async def Infer(self, request_iterator, context) -> None:  # noqa: N802
        async for request in request_iterator:
            self.requests.append(request)
            self.time_left.append(context.time_remaining())
            try:
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                answer = await (self.script or self.answer)(request, context)
            except Refusal as refusal:
                await context.abort(refusal.code, refusal.message, refusal.trailing)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            for whole in answer if isinstance(answer, list) else [answer]:
                whole.correlation_id = request.correlation_id
                for part in split_response(whole):
                    await context.write(part)
            self.answered += 1

    async def answer(self, request: pb.InferRequest, context: Any) -> pb.InferResponse:
        """Answer as a model server would, from what this pod was made with."""
        del context
        kind = resolve(request.task, self.family)
        if kind in {TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED}:
            return embedding(self.model_id, embedding_space=self.space)
        rows = self.scenes if kind is TaskKind.SCENE_CLASSIFY else self.species
        best = sorted(rows.items(), key=lambda row: -row[1])[: int(request.meta.get("top_k", "3"))]
        return labels(dict(best), self.model_id, embedding_space=self.space)


def a_service(name="clip", family="clip", *, status=None, **spec) -> dict[str, Any]:
    """Describe a LumenModelService; keywords go to its spec."""
    model = {"name": name, "runtime": "onnx"}
    document = cluster_objects.a_service(name, family=family, **{"model": model, **spec})
    return document | ({"status": status} if status else {})


def environment(**settings: Any) -> dict[str, str]:
    """The variables of a router on loopback, on free ports unless told otherwise."""
    return {
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_GRPC_PORT": "0",
        "LUMEN_HEALTH_PORT": "0",
        "LUMEN_METRICS_PORT": "0",
        "LUMEN_DRAIN_DELAY_S": "0",
        "LUMEN_GRACE_S": "5",
    } | {name: str(value) for name, value in settings.items()}


class World:
    """A router, its routes file, and a client's channel to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.path = folder / "routes.json"
        told = environment(LUMEN_ROUTES_FILE=self.path, **settings)
        self.settings = RouterSettings.from_environment(told)
        self.stop = asyncio.Event()
        self.running = RouterProcess(self.settings, RoutesFile(self.path, poll_s=0.01))

    async def __aenter__(self) -> Self:
        self.life = asyncio.create_task(self.running.live(self.stop))
        listening = asyncio.create_task(self.running.listening.wait())
        await asyncio.wait({self.life, listening}, return_when=asyncio.FIRST_COMPLETED)
        if self.life.done():
            listening.cancel()
            self.life.result()
        self.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{self.running.ports.grpc}",
            options=[
                ("grpc.max_receive_message_length", 64 << 20),
                ("grpc.max_send_message_length", 64 << 20),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self.stub = pb_grpc.InferenceStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        self.stop.set()
        async with asyncio.timeout(BOUND_S):
            await self.life

    @property
    def directory(self):
        return self.running._directory

    def route(self, *services: dict[str, Any], **endpoints: list[Any]) -> None:
        """Replace the routes file. Endpoints are pods, addresses, or whole endpoints."""
        document = {
            "services": list(services),
            "endpoints": {
                name.replace("_", "-"): [_endpoint(one) for one in listed]
                for name, listed in endpoints.items()
            },
        }
        aside = self.path.with_suffix(".new")
        aside.write_bytes(orjson.dumps(document))
        aside.replace(self.path)

    async def routed(self, *services: dict[str, Any], **endpoints: list[Any]) -> None:
        """Replace the routes file and wait until every pod that it names is ready."""
        self.route(*services, **endpoints)
        wanted = {_endpoint(one)["address"] for listed in endpoints.values() for one in listed}
        await until(lambda: wanted == self.ready_addresses(), f"{wanted} ready")

    def ready(self) -> dict[str, int]:
        """How many ready pods each service that has any has."""
        return {
            pods.service.name: len(pods.ready_pods)
            for pods in self.directory.services
            if pods.ready_pods
        }

    def ready_addresses(self) -> set[str]:
        """Where the ready pods of all services are."""
        return {pod.address for pods in self.directory.services for pod in pods.ready_pods}

    async def infer(
        self, task: str, payload: bytes = JPEG, *, timeout_s: float | None = BOUND_S, **meta: str
    ) -> pb.InferResponse:
        """Send one request on a stream of its own, half-close, and return its answer.

        A failure is asked for as a status: left to itself it is in-band where the half-close is
        late, and would pass for an answer here.
        """
        meta = {"error_mode": "status", **meta}
        call = self.stub.Infer(timeout=timeout_s)
        mime = "image/jpeg" if payload == JPEG else ""
        await call.write(
            pb.InferRequest(
                correlation_id="my-id", task=task, payload=payload, payload_mime=mime, meta=meta
            )
        )
        await call.done_writing()
        parts = [part async for part in call]
        whole = parts[-1]
        whole.result = b"".join(part.result for part in parts)
        return whole

    async def refusal(
        self, task: str, payload: bytes = JPEG, **options: Any
    ) -> grpc.aio.AioRpcError:
        """Return the status with which a request is refused."""
        try:
            answer = await self.infer(task, payload, **options)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"it was answered: {answer}")

    async def records(self) -> list[pb.Capability]:
        """Return what StreamCapabilities yields."""
        return [record async for record in self.stub.StreamCapabilities(Empty())]

    def metric(self, name: str, **labels: str) -> float:
        """Return a figure of /metrics, 0 when it has not been counted."""
        return self.running._metrics._registry.get_sample_value(name, labels) or 0.0


def _endpoint(one: Any) -> dict[str, Any]:
    if isinstance(one, dict):
        return one
    address = one if isinstance(one, str) else one.address
    return {"address": address, "ready": True}


@asynccontextmanager
async def a_world(folder: Path, *pods: ScriptedPod, **settings: Any) -> AsyncIterator[World]:
    """Start the pods and a router; route them by `World.routed`."""
    async with AsyncExitStack() as stack:
        for pod in pods:
            await stack.enter_async_context(pod)
        yield await stack.enter_async_context(World(folder, **settings))


@asynccontextmanager
async def one_service(folder: Path, *pods: ScriptedPod, **settings: Any) -> AsyncIterator[World]:
    """Start the pods of a service `clip` and its router; every pod is ready."""
    async with a_world(folder, *pods, **settings) as world:
        await world.routed(a_service(), clip=list(pods))
        yield world


def canonical(family: str, kind: TaskKind) -> str:
    return pod_task(Family(family), kind)


async def _run_pod(port: int, family: str, delay_s: float) -> None:
    async with ScriptedPod(family, port=port, delay_s=delay_s):
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run_pod(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
