import pytest

from lumen_operator.cache import Cache
from lumen_operator.kinds import CONFIG_MAPS, NODES, PODS, SERVICES


def an_object(name, namespace="team", service="", uid="u1", **rest):
    labels = {"lumen.dev/service": service} if service else {}
    metadata = {"name": name, "namespace": namespace, "uid": uid, "labels": labels}
    return {"metadata": metadata, **rest}


def test_objects_are_found_by_name_by_service_and_by_namespace():
    cache = Cache()
    mine = an_object("clip-1", service="clip")
    other = an_object("clip-1", namespace="other", service="clip")
    plain = an_object("plain")
    for each in (mine, other, plain):
        cache.put(CONFIG_MAPS, each)

    assert cache.get(CONFIG_MAPS, "team", "clip-1") == mine
    assert cache.of_service(CONFIG_MAPS, "team", "clip") == (mine,)
    assert cache.all(CONFIG_MAPS, "team") == (mine, plain)
    assert cache.all(CONFIG_MAPS) == (mine, other, plain)
    assert cache.all(PODS) == ()


def test_a_changed_label_moves_an_object_to_its_new_service():
    cache = Cache()
    cache.put(PODS, an_object("pod", service="old"))
    before = cache.put(PODS, an_object("pod", service="new"))

    assert before == an_object("pod", service="old")
    assert cache.of_service(PODS, "team", "old") == ()
    assert cache.of_service(PODS, "team", "new") == (an_object("pod", service="new"),)


def test_a_dropped_object_is_gone_from_every_index():
    cache = Cache()
    cache.put(PODS, an_object("pod", service="clip"))
    cache.drop(PODS, ("team", "pod"))

    assert cache.get(PODS, "team", "pod") is None
    assert cache.of_service(PODS, "team", "clip") == ()
    assert cache.drop(PODS, ("team", "pod")) is None


def test_uids_tell_successors_of_a_name_apart():
    cache = Cache()
    cache.put(SERVICES, an_object("clip", uid="first"))
    cache.put(SERVICES, an_object("clip", uid="second"))

    assert cache.uids(SERVICES) == {("team", "clip"): "second"}


def test_only_other_appliers_of_managed_fields_are_kept():
    cache = Cache()
    raw = an_object("clip")
    raw["metadata"]["managedFields"] = [
        {"manager": "lumen-operator", "operation": "Apply"},
        {"manager": "kubectl-edit", "operation": "Update"},
        {"manager": "argocd", "operation": "Apply"},
    ]
    cache.put(CONFIG_MAPS, raw)
    kept = cache.get(CONFIG_MAPS, "team", "clip")

    assert kept["metadata"]["managedFields"] == [{"manager": "argocd", "operation": "Apply"}]


def test_what_a_watch_delivered_is_not_changed_by_keeping_it():
    raw = an_object("clip")
    raw["metadata"]["managedFields"] = [{"manager": "x", "operation": "Update"}]
    Cache().put(CONFIG_MAPS, raw)

    assert raw["metadata"]["managedFields"] == [{"manager": "x", "operation": "Update"}]


def test_a_nodes_list_of_images_is_not_kept():
    cache = Cache()
    cache.put(NODES, an_object("n1", "", status={"images": [{}] * 50, "allocatable": {"cpu": "4"}}))

    assert cache.get(NODES, "", "n1")["status"] == {"allocatable": {"cpu": "4"}}


@pytest.mark.parametrize("strange", [{}, {"metadata": None}, {"metadata": {"labels": None}}])
def test_an_object_without_metadata_is_kept_without_harm(strange):
    cache = Cache()
    cache.put(PODS, strange)

    assert len(cache.all(PODS)) == 1
