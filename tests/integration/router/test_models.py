"""The router in front of real model servers: the same bytes, and both stages for real."""

import grpc
import pytest
from router_world import World, a_service, until
from serving_servers import a_config, a_server
from tiny_models import a_jpeg

from lumen_router.cascade.rule import Source
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.results import parse_labels

SCENES = {"preset": "oct2025", "threshold": 0.0, "margin": 0.0, "routes": ["a", "e", "i", "o"]}
"""Every scene is routed: tiny models know nothing, and the second stage is to be seen."""


@pytest.fixture(scope="module")
def servers(tiny_cache, tmp_path_factory):
    models = tiny_cache / "models"
    clip = a_config(models / "tiny-clip", label_sets=[{"name": "tiny-classes"}], scenes=SCENES)
    bioclip = a_config(models / "tiny-bioclip", label_sets=[{"name": "tiny-species"}])
    with (
        a_server(clip, tmp_path_factory.mktemp("clip")) as first,
        a_server(bioclip, tmp_path_factory.mktemp("bioclip")) as second,
    ):
        for one in (first, second):
            one.wait_for_health()
        yield first, second


@pytest.fixture
async def world(servers, tmp_path):
    clip, bioclip = servers
    async with World(tmp_path) as world:
        await world.routed(
            a_service(scenes=SCENES),
            a_service("bioclip", "bioclip"),
            clip=[clip.address],
            bioclip=[bioclip.address],
        )
        yield world


def direct(server, task: str, payload: bytes, mime: str) -> pb.InferResponse:
    stub = pb_grpc.InferenceStub(server.channel())
    request = pb.InferRequest(task=task, payload=payload, payload_mime=mime)
    (answer,) = stub.Infer(iter([request]), timeout=30)
    return answer


@pytest.mark.parametrize("task", ["clip_image_embed", "clip_classify", "clip_scene_classify"])
async def test_an_answer_through_the_router_is_the_servers_byte_for_byte(world, servers, task):
    expected = direct(servers[0], task, a_jpeg(), "image/jpeg")

    answer = await world.infer(task, a_jpeg())

    assert answer.result == expected.result
    assert (answer.result_mime, answer.result_schema) == (
        expected.result_mime,
        expected.result_schema,
    )
    assert expected.meta["embedding_space"] == answer.meta["embedding_space"]


async def test_the_caller_chooses_between_two_models_by_service(world):
    clip = await world.infer("embed", b"a robin")
    bioclip = await world.infer("embed", b"a robin", service="bioclip")

    assert clip.meta["embedding_space"] != bioclip.meta["embedding_space"]
    assert clip.result != bioclip.result


async def test_both_stages_of_smart_classify_are_real(world, servers):
    answer = await world.infer("smart_classify", a_jpeg())

    species = parse_labels(direct(servers[1], "classify", a_jpeg(), "image/jpeg").result)
    document = parse_labels(answer.result)
    assert answer.meta["source"] == Source.SPECIES
    assert document.labels == species.labels
    assert document.model_id == species.model_id
    assert answer.meta["labels_count"] == "3"
    assert {"scene_model_ms", "species_model_ms", "lineage"} <= set(answer.meta)


async def test_every_task_that_the_router_advertises_is_answered_by_a_model(world):
    records = await world.records()

    assert [record.service_name for record in records] == ["clip", "bioclip", "smart"]
    for record in records:
        for task in record.tasks:
            payload = b"a robin" if "text/plain" in task.input_mimes else a_jpeg()
            assert (await world.infer(task.name, payload)).result, task.name


@pytest.mark.parametrize(
    ("task", "payload", "meta", "code"),
    [
        ("image_embed", b"no picture", {}, grpc.StatusCode.INVALID_ARGUMENT),
        ("classify", a_jpeg(), {"top_k": "0"}, grpc.StatusCode.INVALID_ARGUMENT),
        ("smart_classify", b"no picture", {}, grpc.StatusCode.INVALID_ARGUMENT),
        ("smart_classify", a_jpeg(), {"labels": "none"}, grpc.StatusCode.NOT_FOUND),
        ("classify", a_jpeg(), {"embedding_space": "f" * 64}, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
async def test_what_a_model_server_refuses_the_caller_is_told(world, task, payload, meta, code):
    refusal = await world.refusal(task, payload, **meta)

    assert refusal.code() is code
    assert refusal.details()


async def test_a_failed_picture_ejects_no_pod(world):
    await world.refusal("image_embed", b"no picture")

    await until(lambda: world.ready() == {"clip": 1, "bioclip": 1})
    assert (await world.infer("image_embed", a_jpeg())).result
