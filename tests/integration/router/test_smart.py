"""smart_classify: two stages, four outcomes, within the deadline."""

import asyncio

import grpc
import orjson
import pytest
from router_world import (
    ANIMAL,
    JPEG,
    VEHICLE,
    Refusal,
    ScriptedPod,
    a_service,
    a_world,
    labels,
    until,
)

from lumen_wire.results import LABELS_MIME, parse_labels
from lumen_wire.tasks import TaskKind

SPECIES = "bioclip_classification"
SCENE = "scene_classification"
FALLBACK = "scene_classification_fallback"
BOTH = (a_service(), a_service("bioclip", "bioclip"))


def a_clip(**options) -> ScriptedPod:
    return ScriptedPod("clip", **options)


def a_bioclip(**options) -> ScriptedPod:
    return ScriptedPod("bioclip", **options)


async def never(request, context):
    await asyncio.Event().wait()


async def test_a_routed_scene_is_answered_by_the_species_service(tmp_path):
    lineage = orjson.dumps([["Animalia"], ["Animalia"]]).decode()

    async def species(request, context):
        return labels(
            {"robin": 0.9, "penguin": 0.1}, "bioclip-2", lineage=lineage, embedding_space="bio"
        )

    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip(script=species)) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await world.infer("smart_classify")

    document = parse_labels(answer.result)
    assert [one.label for one in document.labels] == ["robin", "penguin"]
    assert document.model_id == "bioclip-2"
    assert (answer.result_mime, answer.result_schema) == (LABELS_MIME, "labels_v1")
    assert (answer.correlation_id, answer.is_final) == ("my-id", True)
    meta = dict(answer.meta)
    assert (meta["source"], meta["scene"], meta["decision"]) == (SPECIES, "animal", "routed")
    assert float(meta["scene_score"]) == pytest.approx(0.8)
    assert (meta["threshold"], meta["margin"]) == ("0.5", "0.1")
    assert (meta["lineage"], meta["labels_count"]) == (lineage, "2")
    assert meta["embedding_space"] == "bio"
    assert orjson.loads(meta["scenes"]) == pytest.approx(ANIMAL)
    assert {"scene_ms", "species_ms", "scene_model_ms", "species_model_ms"} <= meta.keys()
    assert meta["lat_ms"].isdigit()


async def test_another_scene_is_answered_by_its_one_label(tmp_path):
    async with a_world(tmp_path, clip := a_clip(scenes=VEHICLE), bioclip := a_bioclip()) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await world.infer("smart_classify", topk="3")
        counted = world.metric("lumen_router_cascade_total", decision="not_routed", source=SCENE)

    document = parse_labels(answer.result)
    assert [(one.label, one.score) for one in document.labels] == [("vehicle", pytest.approx(0.8))]
    assert document.model_id == "demo-clip"
    assert (answer.meta["source"], answer.meta["labels_count"]) == (SCENE, "1")
    assert answer.meta["decision"] == "not_routed"
    assert bioclip.requests == []
    assert counted == 1


async def test_every_scene_is_asked_for_whatever_the_caller_wants(tmp_path):
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip()) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        await world.infer(
            "smart_classify",
            topK="1",
            include="class=Aves",
            rank="genus",
            label_format="path8",
            labels="birds",
            score="cosine",
            namespace="bioatlas",
            note="kept",
        )

    (scene,), (species,) = clip.requests, bioclip.requests
    assert (scene.task, scene.payload) == ("clip_scene_classify", JPEG)
    assert dict(scene.meta) == {"top_k": "1000", "note": "kept"}
    assert (species.task, species.payload) == ("bioclip_classify", JPEG)
    assert dict(species.meta) == {
        "top_k": "1",
        "include": "class=Aves",
        "rank": "genus",
        "label_format": "path8",
        "labels": "birds",
        "score": "cosine",
        "namespace": "bioatlas",
        "note": "kept",
    }


async def test_three_species_are_the_default(tmp_path):
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip()) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        await world.infer("smart_classify")

    assert bioclip.requests[0].meta["top_k"] == "3"


@pytest.mark.parametrize("top_k", ["0", "-1", "many"])
async def test_a_wrong_number_of_labels_is_refused_before_anyone_is_asked(tmp_path, top_k):
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip()) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        refusal = await world.refusal("smart_classify", top_k=top_k)

    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert clip.requests == []


async def refuse(request, context):
    raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", 50)


async def fail(request, context):
    raise Refusal(grpc.StatusCode.INTERNAL, "broken")


async def no_labels(request, context):
    raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "Unknown task: bioclip_classify")


@pytest.mark.parametrize("script", [refuse, fail, no_labels])
async def test_a_failing_species_service_gives_the_scene_as_fallback(tmp_path, script):
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip(script=script)) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await world.infer("smart_classify")

    assert answer.meta["source"] == FALLBACK
    assert parse_labels(answer.result).labels[0].label == "animal"
    assert parse_labels(answer.result).model_id == "demo-clip"


async def test_without_a_species_service_the_scene_is_the_fallback(tmp_path):
    async with a_world(tmp_path, clip := a_clip()) as world:
        await world.routed(a_service(), clip=[clip])

        answer = await world.infer("smart_classify")

    assert answer.meta["source"] == FALLBACK
    assert answer.meta["fallback_reason"] == "NO_SPECIES_SERVICE"


async def test_a_species_service_without_labels_gives_the_fallback(tmp_path):
    kinds = frozenset({TaskKind.IMAGE_EMBED})
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip(kinds=kinds)) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await world.infer("smart_classify")

    assert answer.meta["source"] == FALLBACK
    assert bioclip.requests == []


async def test_a_species_service_without_a_pod_gives_the_fallback_soon(tmp_path):
    async with a_world(tmp_path, clip := a_clip()) as world:
        world.route(*BOTH, clip=[clip])
        await until(lambda: world.ready() == {"clip": 1})

        answer = await world.infer("smart_classify")

    assert (answer.meta["source"], answer.meta["fallback_reason"]) == (FALLBACK, "UNAVAILABLE")


async def test_a_species_pod_killed_mid_call_gives_the_fallback_within_the_deadline(tmp_path):
    bioclip = a_bioclip(script=never)
    async with a_world(tmp_path, clip := a_clip(), bioclip) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])
        call = asyncio.create_task(world.infer("smart_classify", timeout_s=8.0))
        await until(lambda: bioclip.requests)

        await bioclip.kill()
        answer = await call

    assert answer.meta["source"] == FALLBACK


async def test_a_species_pod_that_never_answers_leaves_time_for_the_fallback(tmp_path):
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip(script=never)) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await world.infer("smart_classify", timeout_s=5.0)

        assert answer.meta["source"] == FALLBACK
        assert answer.meta["fallback_reason"] == "DEADLINE_EXCEEDED"
        assert bioclip.time_left[0] < 4.9
        await until(lambda: bioclip.cancelled == 1)


async def test_the_callers_own_mistake_about_species_is_told_and_not_covered_up(tmp_path):
    async def bad_rank(request, context):
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no label has class Avez")

    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip(script=bad_rank)) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        refusal = await world.refusal("smart_classify", include="class=Avez")

    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.details() == "no label has class Avez"


async def test_without_a_clip_service_it_is_unavailable_at_once(tmp_path):
    async with a_world(tmp_path, bioclip := a_bioclip()) as world:
        await world.routed(a_service("bioclip", "bioclip"), bioclip=[bioclip])

        refusal = await world.refusal("smart_classify", timeout_s=None)

    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    assert "no clip service" in refusal.details()


async def test_a_clip_service_without_a_pod_is_unavailable_within_the_deadline(tmp_path):
    async with a_world(tmp_path, bioclip := a_bioclip()) as world:
        world.route(*BOTH, bioclip=[bioclip])
        await until(lambda: world.ready() == {"bioclip": 1})

        refusal = await world.refusal("smart_classify", timeout_s=5.0)

    assert refusal.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_label_set_that_the_species_service_lacks_is_told(tmp_path):
    async def no_such_set(request, context):
        raise Refusal(grpc.StatusCode.NOT_FOUND, 'no label set "fish"')

    bioclip = a_bioclip(script=no_such_set)
    async with a_world(tmp_path, clip := a_clip(), bioclip) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        refusal = await world.refusal("smart_classify", labels="fish")

    assert refusal.code() is grpc.StatusCode.NOT_FOUND


async def test_a_clip_pod_killed_mid_call_is_unavailable_and_never_a_hang(tmp_path):
    async with a_world(tmp_path, clip := a_clip(script=never), LUMEN_HOLD_S=0.3) as world:
        await world.routed(a_service(), clip=[clip])
        call = asyncio.create_task(world.refusal("smart_classify", timeout_s=10.0))
        await until(lambda: clip.requests)

        await clip.kill()
        refusal = await call

    assert refusal.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("scenes", "shares", "source", "decision"),
    [
        ({}, {"animal": 0.45, "bird": 0.45, "food": 0.1}, SPECIES, "routed"),
        ({}, {"animal": 0.45, "food": 0.3, "vehicle": 0.25}, SCENE, "below_threshold"),
        ({}, {"animal": 0.52, "food": 0.48}, SCENE, "within_margin"),
        ({"threshold": 0.9}, ANIMAL, SCENE, "below_threshold"),
        ({"threshold": 0.3}, {"animal": 0.45, "food": 0.3}, SPECIES, "routed"),
        ({"margin": 0.7}, ANIMAL, SCENE, "within_margin"),
        ({"margin": 0}, {"animal": 0.52, "food": 0.48}, SPECIES, "routed"),
        ({"routes": ["vehicle"]}, VEHICLE, SPECIES, "routed"),
        ({"routes": []}, ANIMAL, SCENE, "not_routed"),
        ({"preset": "organisms"}, {"plant": 0.9, "food": 0.1}, SPECIES, "routed"),
        ({"preset": "oct2025"}, {"plant": 0.9, "food": 0.1}, SCENE, "not_routed"),
        ({"preset": "aug2025"}, {"a photo of a bird": 0.9}, SPECIES, "routed"),
        ({"prompts": ["a cat", "a car"], "routes": ["cat"]}, {"a cat": 0.9}, SPECIES, "routed"),
    ],
)
async def test_presets_routes_threshold_and_margin_are_configuration(
    tmp_path, scenes, shares, source, decision
):
    async with a_world(tmp_path, clip := a_clip(scenes=shares), bioclip := a_bioclip()) as world:
        await world.routed(a_service(scenes=scenes), BOTH[1], clip=[clip], bioclip=[bioclip])

        answer = await world.infer("smart_classify")

    assert (answer.meta["source"], answer.meta["decision"]) == (source, decision)


async def test_the_species_service_can_be_named(tmp_path):
    clip, bioclip, birds = a_clip(), a_bioclip(), a_bioclip()
    async with a_world(tmp_path, clip, bioclip, birds) as world:
        await world.routed(
            a_service(scenes={"to": "birds"}),
            BOTH[1],
            a_service("birds", "bioclip"),
            clip=[clip],
            bioclip=[bioclip],
            birds=[birds],
        )

        await world.infer("smart_classify")

    assert (len(birds.requests), len(bioclip.requests)) == (1, 0)


async def test_a_caller_may_name_the_scene_service_but_no_other(tmp_path):
    clip, fast, bioclip = a_clip(), a_clip(), a_bioclip()
    async with a_world(tmp_path, clip, fast, bioclip) as world:
        services = (*BOTH, a_service("fast", scenes={}))
        await world.routed(*services, clip=[clip], fast=[fast], bioclip=[bioclip])

        await world.infer("smart_classify", service="fast")
        wrong = await world.refusal("smart_classify", service="bioclip")
        unknown = await world.refusal("smart_classify", service="nobody")

    assert (len(fast.requests), len(clip.requests)) == (1, 0)
    assert wrong.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    assert "bioclip, clip, fast" in unknown.details()


async def test_a_cancelled_classification_leaves_the_species_pod(tmp_path):
    async with a_world(tmp_path, clip := a_clip(), bioclip := a_bioclip(script=never)) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])
        call = asyncio.create_task(world.infer("smart_classify"))
        await until(lambda: bioclip.requests)

        call.cancel()

        await until(lambda: bioclip.cancelled == 1)
