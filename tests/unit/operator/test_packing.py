"""Large objects take the room of their text, and decisions see them whole."""

import pytest

from lumen_cluster.kinds import DEPLOYMENTS
from lumen_operator.observe import parse
from lumen_operator.observe.kinds import SERVICES, Key
from lumen_operator.observe.mapping import map_to_keys
from lumen_operator.observe.store import PACK_BYTES, ObjectCache, packed


def a_service(name="clip", values=2_000, **spec):
    selector = {"key": "zone", "operator": "In", "values": ["v" * 60] * 32}
    nodes = {"nodeSelectorTerms": [{"matchExpressions": [selector] * (values // 256)}] * 8}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": nodes}}
    return {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": name,
            "resourceVersion": "1",
            "generation": 1,
            "annotations": {"note": "x" * 200_000},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}] * 100,
        },
        "spec": {
            "family": "clip",
            "model": {"name": "m", "runtime": "onnx"},
            "pool": "cpu",
            "podTemplate": {"affinity": affinity},
            **spec,
        },
        "status": {"reason": "Fetching", "conditions": [{"type": "Ready", "status": "False"}]},
    }


LARGE = a_service(values=512)


@pytest.fixture
def cache():
    found = ObjectCache()
    found.put(SERVICES, LARGE)
    return found


def test_a_large_object_is_packed_and_returned_whole(cache):
    kept = cache.get(SERVICES, "team", "clip")

    assert cache.is_large("team", "clip")
    assert (kept["spec"], kept["status"]) == (LARGE["spec"], LARGE["status"])
    assert len(packed(kept)) < PACK_BYTES


def test_of_all_objects_at_once_a_large_one_shows_what_is_read_of_every_object(cache):
    (head,) = cache.all(SERVICES, "team")

    assert head["spec"] == {"family": "clip", "pool": "cpu", "model": {"name": "m"}}
    assert head["status"] == LARGE["status"]
    assert map_to_keys(cache, SERVICES, None, LARGE) == {Key("service", "team", "clip")}


def test_a_small_object_is_kept_as_it_is():
    cache = ObjectCache()
    cache.put(SERVICES, a_service(values=0))

    assert not cache.is_large("team", "clip")
    assert cache.get(SERVICES, "team", "clip") is cache.get(SERVICES, "team", "clip")


def test_annotations_and_field_owners_of_our_own_kinds_take_no_room(cache):
    assert cache.get(SERVICES, "team", "clip")["metadata"].keys() == {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
    }


def test_a_large_child_is_whole_among_its_services_and_gone_when_it_is_deleted():
    labels = {"lumen.dev/service": "clip"}
    metadata = {"name": "clip-stable", "namespace": "team", "uid": "d", "labels": labels}
    child = {"metadata": {**metadata, "resourceVersion": "1"}, "spec": {"text": ["x" * 99] * 99}}
    cache = ObjectCache()
    cache.put(DEPLOYMENTS, child)

    assert cache.of_service(DEPLOYMENTS, "team", "clip") == (child,)
    assert cache.is_large("team", "clip")

    change = cache.drop(DEPLOYMENTS, ("team", "clip-stable"), "d")

    assert (change.before, change.after) == (child, None)
    assert cache.of_service(DEPLOYMENTS, "team", "clip") == ()
    assert not cache.is_large("team", "clip")


def test_an_object_beyond_every_bound_is_left_out_and_its_spec_is_invalid():
    cache = ObjectCache()
    cache.put(SERVICES, a_service(notes="x" * 700_000))

    raw = cache.get(SERVICES, "team", "clip")

    assert parse.service(raw) == (
        None,
        "the object was left out: it is larger than 256 KiB: make it smaller",
    )


def test_a_large_service_is_parsed_and_not_remembered(cache):
    raw = cache.get(SERVICES, "team", "clip")

    service, problem = parse.service(raw)

    assert problem == ""
    assert service.key == ("team", "clip")
    assert ("LumenModelService", "clip", 1) not in parse._parsed
