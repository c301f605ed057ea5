"""Vectors of one space are never mixed with those of another."""

import grpc
from router_world import ScriptedPod, a_service, a_world, embedding, one_service


async def test_vectors_come_from_pods_of_the_services_space_only(tmp_path):
    right, wrong = ScriptedPod(), ScriptedPod(space="space-2")
    async with a_world(tmp_path, right, wrong) as world:
        await world.routed(a_service(status={"embeddingSpace": "space-1"}), clip=[right, wrong])

        for _ in range(12):
            answer = await world.infer("clip_image_embed")
            assert answer.meta["embedding_space"] == "space-1"
        for _ in range(12):
            await world.infer("clip_classify")

    asked = [request.task for request in wrong.requests]
    assert asked
    assert set(asked) == {"clip_classify"}


async def test_pods_without_a_declared_space_never_mix(tmp_path):
    pods = [ScriptedPod(space="space-1"), ScriptedPod(space="space-2")]
    async with one_service(tmp_path, *pods) as world:
        spaces = {
            (await world.infer("clip_image_embed")).meta["embedding_space"] for _ in range(12)
        }

    assert len(spaces) == 1


async def test_a_demanded_space_is_served_or_refused(tmp_path):
    async with one_service(tmp_path, ScriptedPod()) as world:
        answer = await world.infer("clip_image_embed", embedding_space="space-1")
        refusal = await world.refusal("clip_image_embed", embedding_space="space-9")

    assert answer.meta["embedding_space"] == "space-1"
    assert refusal.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "space-1" in refusal.details()


async def test_a_pod_that_changed_its_space_between_two_calls_is_found_out(tmp_path):
    changed, right = ScriptedPod(), ScriptedPod()

    async def script(request, context):
        return embedding(embedding_space="space-2")

    async with a_world(tmp_path, changed, right) as world:
        await world.routed(a_service(status={"embeddingSpace": "space-1"}), clip=[changed, right])
        changed.script, changed.space = script, "space-2"

        spaces = {
            (await world.infer("clip_image_embed")).meta["embedding_space"] for _ in range(12)
        }

    assert spaces == {"space-1"}
