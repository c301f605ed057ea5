"""smart_classify: two stages, four outcomes, within the deadline."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import orjson
import pytest
from router_scripts import EXHAUSTED, UNAVAILABLE, refusing
from router_world import (
    ANIMAL,
    JPEG,
    VEHICLE,
    ScriptedPod,
    a_service,
    a_world,
    labels,
    one_service,
    until,
)

from lumen_wire.results import LABELS_MIME, parse_labels
from lumen_wire.tasks import TaskKind

INVALID = grpc.StatusCode.INVALID_ARGUMENT
SPECIES = "bioclip_classification"
SCENE = "scene_classification"
FALLBACK = "scene_classification_fallback"
BOTH = (a_service(), a_service("bioclip", "bioclip"))


def a_bioclip(**options) -> ScriptedPod:
    return ScriptedPod("bioclip", **options)


@asynccontextmanager
async def both(folder, clip=None, bioclip=None, **scenes):
    """A router of both services, whose clip service has these scenes, and their pods."""
    clip, bioclip = clip or ScriptedPod(), bioclip or a_bioclip()
    async with a_world(folder, clip, bioclip) as world:
        await world.routed(a_service(**scenes), BOTH[1], clip=[clip], bioclip=[bioclip])
        yield world, clip, bioclip


async def never(request, context):
    await asyncio.Event().wait()


async def test_a_routed_scene_is_answered_by_the_species_service(tmp_path):
    lineage = orjson.dumps([["Animalia"], ["Animalia"]]).decode()

    async def species(request, context):
        return labels(
            {"robin": 0.9, "penguin": 0.1}, "bioclip-2", lineage=lineage, embedding_space="bio"
        )

    async with both(tmp_path, bioclip=a_bioclip(script=species)) as (world, _, _):
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
    async with both(tmp_path, ScriptedPod(scenes=VEHICLE)) as (world, _, bioclip):
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
    async with both(tmp_path) as (world, clip, bioclip):
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
    async with both(tmp_path) as (world, _, bioclip):
        await world.infer("smart_classify")

    assert bioclip.requests[0].meta["top_k"] == "3"


@pytest.mark.parametrize("top_k", ["0", "-1", "many"])
async def test_a_wrong_number_of_labels_is_refused_before_anyone_is_asked(tmp_path, top_k):
    async with both(tmp_path) as (world, clip, _):
        refusal = await world.refusal("smart_classify", top_k=top_k)

    assert refusal.code() is INVALID
    assert clip.requests == []


@pytest.mark.parametrize(
    ("options", "reason", "asked"),
    [
        ({"script": refusing(EXHAUSTED, "full", 50)}, "RESOURCE_EXHAUSTED", True),
        ({"script": refusing(grpc.StatusCode.INTERNAL, "broken")}, "INTERNAL", True),
        ({"script": refusing(INVALID, "Unknown task")}, "INVALID_ARGUMENT", True),
        ({"kinds": frozenset({TaskKind.IMAGE_EMBED})}, "INVALID_ARGUMENT", False),
    ],
    ids=["full", "broken", "no-such-task", "no-labels"],
)
async def test_a_failing_species_service_gives_the_scene_as_fallback(
    tmp_path, options, reason, asked
):
    async with both(tmp_path, bioclip=a_bioclip(**options)) as (world, _, bioclip):
        answer = await world.infer("smart_classify")

    document = parse_labels(answer.result)
    assert (answer.meta["source"], answer.meta["fallback_reason"]) == (FALLBACK, reason)
    assert (document.labels[0].label, document.model_id) == ("animal", "demo-clip")
    assert bool(bioclip.requests) == asked


@pytest.mark.parametrize(
    ("services", "reason"), [(BOTH[:1], "NO_SPECIES_SERVICE"), (BOTH, "UNAVAILABLE")]
)
async def test_without_a_species_service_or_its_pod_the_scene_is_the_fallback_soon(
    tmp_path, services, reason
):
    async with a_world(tmp_path, clip := ScriptedPod()) as world:
        await world.routed(*services, clip=[clip])

        answer = await world.infer("smart_classify")

    assert (answer.meta["source"], answer.meta["fallback_reason"]) == (FALLBACK, reason)


async def test_a_species_pod_killed_mid_call_gives_the_fallback_within_the_deadline(tmp_path):
    async with both(tmp_path, bioclip=a_bioclip(script=never)) as (world, _, bioclip):
        call = asyncio.create_task(world.infer("smart_classify", timeout_s=8.0))
        await until(lambda: bioclip.requests)

        await bioclip.kill()
        answer = await call

    assert answer.meta["source"] == FALLBACK


async def test_a_species_pod_that_never_answers_leaves_time_for_the_fallback(tmp_path):
    async with both(tmp_path, bioclip=a_bioclip(script=never)) as (world, _, bioclip):
        answer = await world.infer("smart_classify", timeout_s=5.0)

        assert answer.meta["source"] == FALLBACK
        assert answer.meta["fallback_reason"] == "DEADLINE_EXCEEDED"
        assert bioclip.time_left[0] < 4.9
        await until(lambda: bioclip.cancelled == 1)


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        ({"include": "class=Avez"}, INVALID, "no label has class Avez"),
        ({"labels": "fish"}, grpc.StatusCode.NOT_FOUND, 'no label set "fish"'),
    ],
)
async def test_the_callers_own_mistake_about_species_is_told_and_not_covered_up(
    tmp_path, asked, code, message
):
    bioclip = a_bioclip(script=refusing(code, message))
    async with both(tmp_path, bioclip=bioclip) as (world, _, _):
        refusal = await world.refusal("smart_classify", **asked)

    assert (refusal.code(), refusal.details()) == (code, message)


async def test_without_a_clip_service_it_is_unavailable_at_once(tmp_path):
    async with a_world(tmp_path, bioclip := a_bioclip()) as world:
        await world.routed(BOTH[1], bioclip=[bioclip])

        refusal = await world.refusal("smart_classify", timeout_s=None)

    assert refusal.code() is UNAVAILABLE
    assert "no clip service" in refusal.details()


async def test_a_clip_service_without_a_pod_is_unavailable_within_the_deadline(tmp_path):
    async with a_world(tmp_path, bioclip := a_bioclip()) as world:
        await world.routed(*BOTH, bioclip=[bioclip])

        refusal = await world.refusal("smart_classify", timeout_s=5.0)

    assert refusal.code() is UNAVAILABLE


async def test_a_clip_pod_killed_mid_call_is_unavailable_and_never_a_hang(tmp_path):
    async with one_service(tmp_path, clip := ScriptedPod(script=never), LUMEN_HOLD_S=0.3) as world:
        call = asyncio.create_task(world.refusal("smart_classify", timeout_s=10.0))
        await until(lambda: clip.requests)

        await clip.kill()
        refusal = await call

    assert refusal.code() is UNAVAILABLE


@pytest.mark.parametrize(
    ("scenes", "shares", "source", "decision"),
    [
        ({}, {"animal": 0.45, "bird": 0.45, "food": 0.1}, SPECIES, "routed"),
        ({"threshold": 0.9}, ANIMAL, SCENE, "below_threshold"),
        ({"margin": 0.7}, ANIMAL, SCENE, "within_margin"),
        ({"margin": 0}, {"animal": 0.52, "food": 0.48}, SPECIES, "routed"),
        ({"routes": ["vehicle"]}, VEHICLE, SPECIES, "routed"),
        ({"preset": "organisms"}, {"plant": 0.9, "food": 0.1}, SPECIES, "routed"),
        ({"prompts": ["a cat", "a car"], "routes": ["cat"]}, {"a cat": 0.9}, SPECIES, "routed"),
    ],
)
async def test_presets_routes_threshold_and_margin_are_configuration(
    tmp_path, scenes, shares, source, decision
):
    """What each of them decides, `tests/unit/router/test_cascade_rule.py` says."""
    async with both(tmp_path, ScriptedPod(scenes=shares), scenes=scenes) as (world, _, _):
        answer = await world.infer("smart_classify")

    assert (answer.meta["source"], answer.meta["decision"]) == (source, decision)


async def test_the_species_service_can_be_named(tmp_path):
    clip, bioclip, birds = ScriptedPod(), a_bioclip(), a_bioclip()
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
    clip, fast, bioclip = ScriptedPod(), ScriptedPod(), a_bioclip()
    async with a_world(tmp_path, clip, fast, bioclip) as world:
        services = (*BOTH, a_service("fast", scenes={}))
        await world.routed(*services, clip=[clip], fast=[fast], bioclip=[bioclip])

        await world.infer("smart_classify", service="fast")
        wrong = await world.refusal("smart_classify", service="bioclip")
        unknown = await world.refusal("smart_classify", service="nobody")

    assert (len(fast.requests), len(clip.requests)) == (1, 0)
    assert wrong.code() is INVALID
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    assert "bioclip, clip, fast" in unknown.details()


async def test_a_cancelled_classification_leaves_the_species_pod(tmp_path):
    async with both(tmp_path, bioclip=a_bioclip(script=never)) as (world, _, bioclip):
        call = asyncio.create_task(world.infer("smart_classify"))
        await until(lambda: bioclip.requests)

        call.cancel()

        await until(lambda: bioclip.cancelled == 1)
