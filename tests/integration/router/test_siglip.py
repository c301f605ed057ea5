"""A SigLIP service through the whole cascade: real servers, real router, its own scores."""

import grpc
import numpy as np
import orjson
import pytest
import tiny_models
from router_world import World, a_service
from serving_servers import a_config, a_server

from lumen_wire.results import parse_labels

SCALE, BIAS = 40.0, -12.0
SIGLIP = tiny_models.TinyModel(
    name="tiny-siglip",
    model_type="siglip",
    seed=23,
    score={"kind": "sigmoid", "scale": SCALE, "bias": BIAS},
)
EVERY_SCENE = {"preset": "oct2025", "threshold": 0.0, "margin": 0.0, "routes": ["a", "e", "i", "o"]}
NO_SCENE = {"preset": "oct2025", "routes": ["no scene at all"]}
PICTURE = tiny_models.a_jpeg(3)


@pytest.fixture(scope="module")
def siglip(tiny_cache, tmp_path_factory):
    folder = tiny_models.write_model(tiny_cache, SIGLIP)
    config = a_config(
        folder, family="siglip", label_sets=[{"name": "tiny-classes"}], scenes=EVERY_SCENE
    )
    with a_server(config, tmp_path_factory.mktemp("siglip")) as server:
        server.wait_for_health()
        yield server


@pytest.fixture(scope="module")
def bioclip(tiny_cache, tmp_path_factory):
    config = a_config(tiny_cache / "models/tiny-bioclip", label_sets=[{"name": "tiny-species"}])
    with a_server(config, tmp_path_factory.mktemp("bioclip")) as server:
        server.wait_for_health()
        yield server


@pytest.fixture
async def world(siglip, bioclip, tmp_path):
    async with World(tmp_path) as world:
        await world.routed(
            a_service("siglip", "siglip", scenes=EVERY_SCENE),
            a_service("bioclip", "bioclip"),
            siglip=[siglip.address],
            bioclip=[bioclip.address],
        )
        yield world


def scores(answer) -> dict[str, float]:
    return {one.label: one.score for one in parse_labels(answer.result).labels}


def sigmoid(cosine: float) -> float:
    return float(1 / (1 + np.exp(-(SCALE * cosine + BIAS))))


async def test_each_label_is_scored_for_itself(world):
    answer = await world.infer("siglip_classify", PICTURE, top_k="6")
    cosines = await world.infer("siglip_classify", PICTURE, top_k="6", score="cosine")

    expected = {label: sigmoid(cosine) for label, cosine in scores(cosines).items()}
    assert scores(answer) == pytest.approx(expected, rel=1e-4)
    assert sum(scores(answer).values()) != pytest.approx(1, abs=0.01)
    assert answer.meta["score_rule"] == "sigmoid"
    assert (float(answer.meta["logit_scale"]), float(answer.meta["logit_bias"])) == (SCALE, BIAS)


async def test_scenes_are_shares_with_their_sigmoids_beside_them(world):
    answer = await world.infer("siglip_scene_classify", PICTURE, top_k="8")
    cosines = await world.infer("siglip_scene_classify", PICTURE, top_k="8", score="cosine")

    assert sum(scores(answer).values()) == pytest.approx(1, abs=1e-4)
    expected = {label: sigmoid(cosine) for label, cosine in scores(cosines).items()}
    assert orjson.loads(answer.meta["sigmoids"]) == pytest.approx(expected, rel=1e-4)


async def test_smart_classify_begins_with_siglip_where_there_is_no_clip(world):
    scenes = await world.infer("siglip_scene_classify", PICTURE, top_k="8")
    species = await world.infer("bioclip_classify", PICTURE)

    answer = await world.infer("smart_classify", PICTURE)

    assert answer.meta["source"] == "bioclip_classification"
    assert scores(answer) == scores(species)
    told = orjson.loads(scenes.meta["sigmoids"])
    assert orjson.loads(answer.meta["scene_sigmoids"]) == told
    assert float(answer.meta["scene_sigmoid"]) == pytest.approx(
        told[answer.meta["scene"]], rel=1e-4
    )


async def test_a_scene_that_is_named_says_how_well_it_fits(siglip, tmp_path):
    async with World(tmp_path) as world:
        await world.routed(a_service("siglip", "siglip", scenes=NO_SCENE), siglip=[siglip.address])

        answer = await world.infer("smart_classify", PICTURE)
        named = await world.infer("smart_classify", PICTURE, service="siglip")

    assert answer.meta["source"] == "scene_classification"
    assert scores(answer) == scores(named)
    (label,) = scores(answer)
    told = orjson.loads(answer.meta["scene_sigmoids"])
    assert float(answer.meta["scene_sigmoid"]) == pytest.approx(told[label], rel=1e-4)
    # Nothing fits, and the answer says so: the best share is well above it.
    assert told[label] < 0.5 < 8 * scores(answer)[label]


async def test_clip_goes_first_where_both_are_there_and_siglip_when_it_is_named(
    world, siglip, bioclip, tiny_cache, tmp_path_factory
):
    config = a_config(tiny_cache / "models/tiny-clip", scenes=EVERY_SCENE)
    with a_server(config, tmp_path_factory.mktemp("clip")) as clip:
        clip.wait_for_health()
        await world.routed(
            a_service("siglip", "siglip", scenes=EVERY_SCENE),
            a_service(scenes=EVERY_SCENE),
            a_service("bioclip", "bioclip"),
            siglip=[siglip.address],
            clip=[clip.address],
            bioclip=[bioclip.address],
        )

        by_clip = await world.infer("smart_classify", PICTURE)
        by_siglip = await world.infer("smart_classify", PICTURE, service="siglip")
        wrong = await world.refusal("smart_classify", PICTURE, service="bioclip")

    assert "scene_sigmoid" not in by_clip.meta
    assert "scene_sigmoid" in by_siglip.meta
    assert wrong.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "CLIP or SigLIP" in wrong.details()


async def test_every_task_of_the_family_is_advertised_and_answered(world):
    records = {record.service_name: record for record in await world.records()}

    assert set(records) == {"siglip", "bioclip", "smart"}
    names = {task.name for task in records["siglip"].tasks}
    assert names == {
        *("siglip_text_embed", "siglip_embed", "siglip_image_embed"),
        *("siglip_classify", "siglip_scene_classify"),
    }
    assert records["smart"].extra["scene_service"] == "siglip"
    assert records["siglip"].extra["logit_bias"] == f"{BIAS:g}"
    for task in records["siglip"].tasks:
        payload = b"a robin" if "text/plain" in task.input_mimes else PICTURE
        assert (await world.infer(task.name, payload)).result, task.name


async def test_names_without_a_prefix_reach_it_when_it_is_named(world):
    scene = await world.infer("classify_scene", PICTURE, service="siglip")
    own = await world.infer("siglip_scene_classify", PICTURE)

    assert scores(scene) == scores(own)
