"""Who is meant by a name and a task, and what is advertised."""

import orjson
import pytest

from lumen_router.errors import (
    NoServiceOfFamily,
    ServiceNotRouted,
    TaskNotRouted,
    TaskOfAnotherFamily,
)
from lumen_router.routes.from_file import parse_routes
from lumen_router.routes.table import Endpoint, Routes, advertised_names
from lumen_wire.tasks import TaskKind


def a_service(name="clip", family="clip", *, created=None, status=None, **spec) -> dict:
    metadata = {"name": name} | ({"creationTimestamp": created} if created else {})
    if "external" not in spec:
        spec["pool"] = "cpu"
    document = {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "metadata": metadata,
        "spec": {"family": family, "model": {"name": name, "runtime": "onnx"}, **spec},
    }
    return document | ({"status": status} if status else {})


def some_routes(*services, endpoints=None) -> Routes:
    return parse_routes(orjson.dumps({"services": services, "endpoints": endpoints or {}}))


BOTH = (a_service(), a_service("bioclip", "bioclip"))


@pytest.mark.parametrize(
    ("task", "asked", "service", "kind", "pod_task"),
    [
        ("clip_image_embed", None, "clip", TaskKind.IMAGE_EMBED, "clip_image_embed"),
        ("semantic_text_embed", None, "clip", TaskKind.TEXT_EMBED, "clip_text_embed"),
        ("image_embed", None, "clip", TaskKind.IMAGE_EMBED, "clip_image_embed"),
        ("embed", "clip", "clip", TaskKind.TEXT_EMBED, "clip_text_embed"),
        ("embed", "bioclip", "bioclip", TaskKind.TEXT_EMBED, "bioclip_text_embed"),
        ("classify", "bioclip", "bioclip", TaskKind.CLASSIFY, "bioclip_classify"),
        ("classify", None, "clip", TaskKind.CLASSIFY, "clip_classify"),
        ("classify_scene", None, "clip", TaskKind.SCENE_CLASSIFY, "clip_scene_classify"),
        ("smartclip_bioclassify", None, "bioclip", TaskKind.CLASSIFY, "bioclip_classify"),
        ("bioclip_embed", "bioclip", "bioclip", TaskKind.TEXT_EMBED, "bioclip_text_embed"),
    ],
)
def test_a_task_name_and_the_callers_service_say_who_is_meant(task, asked, service, kind, pod_task):
    target = some_routes(*BOTH).resolve(task, asked)

    assert (target.service.name, target.kind, target.pod_task) == (service, kind, pod_task)


@pytest.mark.parametrize(
    ("task", "asked", "error", "message"),
    [
        ("embed", "birds", ServiceNotRouted, r'"birds" here\. Known: bioclip, clip'),
        *(
            (task, None, TaskNotRouted, "Unknown task: ")
            for task in ("nonsense", "", "clip", "siglip", "clip_smart", "bioclip_scene_classify")
        ),
        ("classify_scene", "bioclip", TaskNotRouted, "bioclip services offer no scene_classify"),
        ("clip_image_embed", "bioclip", TaskOfAnotherFamily, "of family clip"),
        ("siglip_image_embed", None, NoServiceOfFamily, "no siglip service"),
    ],
)
def test_what_means_nobody_is_refused_with_the_reason(task, asked, error, message):
    with pytest.raises(error, match=message):
        some_routes(*BOTH).resolve(task, asked)


def test_without_clip_an_unprefixed_name_still_reaches_the_service_that_is_named():
    routes = some_routes(a_service("bioclip", "bioclip"))

    assert routes.resolve("embed", "bioclip").service.name == "bioclip"
    with pytest.raises(NoServiceOfFamily):
        routes.resolve("embed", None)


@pytest.mark.parametrize(
    ("services", "default"),
    [
        ([a_service("a"), a_service("b")], "a"),
        ([a_service("a"), a_service("b", default=True)], "b"),
        ([a_service("a", default=True), a_service("b", default=True)], "a"),
        (
            [
                a_service("a", created="2026-02-01T00:00:00Z", default=True),
                a_service("b", created="2026-01-01T00:00:00Z", default=True),
            ],
            "b",
        ),
        (
            [
                a_service("a", created="2026-02-01T00:00:00Z"),
                a_service("b", created="2026-01-01T00:00:00Z"),
            ],
            "b",
        ),
    ],
)
def test_the_default_flag_decides_and_of_two_the_older_wins(services, default):
    routes = some_routes(*services)

    assert routes.resolve("clip_image_embed", None).service.name == default
    assert routes.find("clip").name == default


def test_no_alias_takes_the_calls_of_a_service_a_family_or_a_model():
    routes = some_routes(
        a_service("clip"),
        a_service("bioclip", "bioclip"),
        a_service("thief", aliases=["bioclip", "clip", "fast", "own"]),
        a_service("late", aliases=["thief", "own"]),
        a_service("fast", aliases=["bioclip"]),
    )

    known = {name: service.name for name, service in routes.names.items()}
    assert known == {
        "clip": "clip",
        "bioclip": "bioclip",
        "thief": "thief",
        "own": "thief",
        "late": "late",
        "fast": "thief",  # its alias is older than the service of that name
    }


def test_an_alias_comes_before_a_service_and_a_service_before_a_family():
    routes = some_routes(
        a_service("first", aliases=["second"]),
        a_service("second", aliases=["first-too"]),
        a_service("clip"),
        a_service("fast", default=True, aliases=["second"]),
    )

    assert routes.find("second").name == "first"  # the older one's alias
    assert routes.find("clip").name == "clip"  # the service, not the family's default
    assert routes.resolve("embed", None).service.name == "fast"


def test_a_second_service_carries_its_own_prefix():
    routes = some_routes(a_service(), a_service("fast"))

    target = routes.resolve("fast_image_embed", None)

    assert (target.service.name, target.pod_task) == ("fast", "clip_image_embed")
    assert advertised_names(routes, target.service, TaskKind.IMAGE_EMBED) == ("fast_image_embed",)
    with pytest.raises(TaskOfAnotherFamily, match="of service fast"):
        routes.resolve("fast_image_embed", "clip")


def test_a_service_name_never_hides_a_canonical_task():
    routes = some_routes(a_service("fast", default=True), a_service("clip"))

    assert routes.resolve("clip_image_embed", None).service.name == "fast"
    assert routes.resolve("clip_image_embed", "clip").service.name == "clip"


def test_no_name_is_advertised_twice():
    routes = some_routes(
        *BOTH, a_service("siglip", "siglip"), a_service("fast"), a_service("bioclip-text")
    )

    names = [
        name
        for service in routes.services
        for kind in TaskKind
        for name in advertised_names(routes, service, kind)
    ]

    assert len(names) == len(set(names))
    assert {"embed", "bioclip_classify", "siglip_image_embed", "fast_scene_classify"} <= set(names)


def test_every_advertised_name_resolves_to_its_service():
    routes = some_routes(*BOTH, a_service("siglip", "siglip"), a_service("fast"))

    for service in routes.services:
        for kind in TaskKind:
            for name in advertised_names(routes, service, kind):
                target = routes.resolve(name, None)
                assert (target.service.name, target.kind) == (service.name, kind)


def test_an_external_server_is_its_own_endpoint():
    (service,) = some_routes(a_service(external="board.local:50051")).services

    assert service.routes[0].endpoints == (Endpoint("board.local:50051"),)
