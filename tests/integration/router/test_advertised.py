"""What the router says of itself: records, health, metrics, both service names."""

import urllib.request

import grpc
import orjson
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from router_world import BOUND_S, ScriptedPod, a_service, a_world, one_service, until

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import TaskKind

BOTH = (a_service(), a_service("bioclip", "bioclip"))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def names(record) -> set[str]:
    return {task.name for task in record.tasks}


async def health_of(world, service="home_native.v1.Inference", channel=None):
    stub = health_pb2_grpc.HealthStub(channel or world.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_there_is_one_record_per_service_and_one_for_the_cascade(tmp_path):
    clip, bioclip, fast = ScriptedPod(), ScriptedPod("bioclip"), ScriptedPod()
    async with a_world(tmp_path, clip, bioclip, fast) as world:
        services = (*reversed(BOTH), a_service("fast"))
        await world.routed(*services, clip=[clip], bioclip=[bioclip], fast=[fast])

        records = await world.records()

    assert [record.service_name for record in records] == ["clip", "bioclip", "fast", "smart"]
    assert {record.protocol_version for record in records} == {"1.0.0"}
    advertised = [task.name for record in records for task in record.tasks]
    assert len(advertised) == len(set(advertised))
    clip_record, bioclip_record, fast_record, smart = records
    assert {"clip_image_embed", "embed", "classify", "classify_scene"} <= names(clip_record)
    assert {"bioclip_classify", "smartclip_bioclassify"} <= names(bioclip_record)
    assert not names(bioclip_record) & {"embed", "classify", "image_embed"}
    assert "fast_image_embed" in names(fast_record)
    assert names(smart) == {"smart_classify"}
    assert list(smart.model_ids) == ["demo-clip", "demo-bioclip"]
    assert clip_record.extra["embedding_space"] == "space-1"
    assert clip_record.tasks[0].limits["max_payload_size"] == "52428800"


async def test_without_clip_there_is_no_cascade(tmp_path):
    async with a_world(tmp_path, bioclip := ScriptedPod("bioclip")) as world:
        await world.routed(BOTH[1], bioclip=[bioclip])

        records = await world.records()

    assert [record.service_name for record in records] == ["bioclip"]


async def test_a_task_without_its_resources_is_not_advertised(tmp_path):
    kinds = frozenset({TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED})
    async with one_service(tmp_path, ScriptedPod(kinds=kinds)) as world:
        (record,) = await world.records()

    assert not names(record) & {"classify", "clip_classify", "classify_scene"}


async def test_the_oldest_clients_get_all_services_in_one_record(tmp_path):
    async with a_world(tmp_path, clip := ScriptedPod(), bioclip := ScriptedPod("bioclip")) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        record = await world.stub.GetCapabilities(Empty())

    assert (record.service_name, record.runtime, record.protocol_version) == (
        "lumen",
        "onnx",
        "1.0.0",
    )
    assert {"clip_embed", "bioclip_classify", "smart_classify"} <= names(record)
    assert record.extra["batch_size"] == "8"
    assert (record.extra["runtime.clip"], record.extra["runtime.bioclip"]) == ("onnx", "onnx")


async def test_nothing_is_advertised_before_a_service_is_ready(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod(loading=True)) as world:
        world.route(a_service(), clip=[pod])
        before = await health_of(world)
        codes = []
        for call in (
            world.records(),
            world.stub.GetCapabilities(Empty()),
            world.stub.Health(Empty()),
        ):
            try:
                await call
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
        pod.loading = False
        await until(lambda: world.ready() == {"clip": 1})
        records = await world.records()
        await world.stub.Health(Empty())
        after = await health_of(world)

    assert codes == [grpc.StatusCode.UNAVAILABLE] * 3
    assert [record.service_name for record in records] == ["clip", "smart"]
    assert (before, after) == (NOT_SERVING, SERVING)


async def test_the_restart_of_the_only_pod_is_not_seen_from_outside(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
        await pod.kill()
        await until(lambda: world.ready() == {})

        records = await world.records()
        health = await health_of(world)

    assert [record.service_name for record in records] == ["clip", "smart"]
    assert health == SERVING


async def test_health_has_a_port_of_its_own_and_life_does_not_need_a_service(tmp_path):
    async with a_world(tmp_path) as world:
        address = f"127.0.0.1:{world.running.ports.health}"
        async with grpc.aio.insecure_channel(address) as channel:
            statuses = [
                await health_of(world, service, channel)
                for service in ("", "liveness", "home_native.v1.Inference")
            ]

    assert statuses == [SERVING, SERVING, NOT_SERVING]


async def test_the_older_service_name_is_answered_alike(tmp_path):
    async with one_service(tmp_path, ScriptedPod()) as world:
        infer = world.channel.stream_stream(
            "/inference.Inference/Infer",
            request_serializer=pb.InferRequest.SerializeToString,
            response_deserializer=pb.InferResponse.FromString,
        )
        call = infer(timeout=BOUND_S)
        await call.write(pb.InferRequest(task="embed", payload=b"a robin"))
        answer = await call.read()
        call.cancel()

    assert answer.meta["dim"] == "4"


async def test_metrics_and_status_name_only_services_that_exist(tmp_path):
    def fetch(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read()

    async with one_service(tmp_path, ScriptedPod()) as world:
        port = world.running.ports.metrics
        await world.infer("embed", b"a robin")
        await world.refusal("no-such-task")
        status = orjson.loads(fetch("/status"))
        text = fetch("/metrics").decode()
        world.route(a_service("other"))
        await until(lambda: [one.service.name for one in world.directory.services] == ["other"])
        later = fetch("/metrics").decode()

    ok = 'lumen_router_requests_total{code="OK",service="clip",task="text_embed"} 1.0'
    assert ok in text
    assert 'code="INVALID_ARGUMENT",service="",task="unknown"} 1.0' in text
    assert "no-such-task" not in text
    assert 'lumen_router_pods_ready{service="clip"} 1.0' in text
    assert 'service="clip"' not in later
    assert status["phase"] == "serving"
    (service,) = status["services"]
    assert (service["name"], service["pods"][0]["ready"]) == ("clip", True)
