import pytest

from lumen_cluster.kinds import CONFIG_MAPS, NODES, PODS, REPLICA_SETS
from lumen_cluster.store import Change, Version, version_of
from lumen_manifest.names import PIN_ENV
from lumen_operator.observe import decode
from lumen_operator.observe.kinds import SERVICES
from lumen_operator.observe.store import ObjectCache, trimmed


def an_object(name, namespace="team", service="", uid="u1", version="1", **rest):
    labels = {"lumen.dev/service": service} if service else {}
    metadata = {"name": name, "namespace": namespace, "uid": uid, "labels": labels}
    metadata["resourceVersion"] = version
    return {"metadata": metadata, **rest}


def test_objects_are_found_by_name_by_service_and_by_namespace():
    cache = ObjectCache()
    mine = an_object("clip-1", service="clip")
    other = an_object("clip-1", namespace="other", service="clip")
    plain = an_object("plain")
    for each in (mine, other, plain):
        cache.put(PODS, each)

    assert cache.get(PODS, "team", "clip-1") == mine
    assert cache.of_service(PODS, "team", "clip") == (mine,)
    assert cache.all(PODS, "team") == (mine, plain)
    assert cache.all(PODS) == (mine, other, plain)
    assert cache.all(NODES) == ()


def test_a_changed_label_moves_an_object_to_its_new_service():
    cache = ObjectCache()
    old, new = an_object("pod", service="old"), an_object("pod", service="new", version="2")
    cache.put(PODS, old)

    assert cache.put(PODS, new) == Change(old, new)
    assert cache.of_service(PODS, "team", "old") == ()
    assert cache.of_service(PODS, "team", "new") == (new,)


def test_a_dropped_object_is_gone_from_every_index():
    cache = ObjectCache()
    pod = an_object("pod", service="clip")
    cache.put(PODS, pod)

    assert cache.drop(PODS, ("team", "pod"), "u1") == Change(pod, None)
    assert cache.get(PODS, "team", "pod") is None
    assert cache.of_service(PODS, "team", "clip") == ()
    assert cache.drop(PODS, ("team", "pod"), "u1") is None


def test_the_end_of_a_predecessor_does_not_drop_its_successor():
    cache = ObjectCache()
    cache.put(PODS, an_object("pod", uid="first", version="9"))
    cache.put(PODS, an_object("pod", uid="second", version="8"))

    assert cache.drop(PODS, ("team", "pod"), "first") is None
    assert cache.get(PODS, "team", "pod")["metadata"]["uid"] == "second"


def test_the_same_state_again_is_no_news_and_an_older_one_is_not_kept():
    cache = ObjectCache()
    newest = an_object("clip", version="10")
    cache.put(SERVICES, newest)

    assert cache.put(SERVICES, an_object("clip", version="10")) is None
    assert cache.put(SERVICES, an_object("clip", version="9")) is None
    assert version_of(cache.get(SERVICES, "team", "clip")) == version_of(newest)


def test_versions_that_are_no_numbers_always_count_as_news():
    cache = ObjectCache()
    cache.put(SERVICES, an_object("clip", version="abc"))

    assert cache.put(SERVICES, an_object("clip", version="abc", status={})) is not None


def test_versions_tell_objects_and_their_states_apart():
    cache = ObjectCache()
    cache.put(SERVICES, an_object("clip", uid="second", version="7"))

    assert cache.versions(SERVICES) == {("team", "clip"): Version("second", 7)}


def test_of_managed_fields_only_those_of_children_that_somebody_applies_are_kept():
    cache = ObjectCache()
    raw = an_object("clip")
    applied = [
        {"manager": "lumen-operator", "operation": "Apply"},
        {"manager": "argocd", "operation": "Apply"},
    ]
    edited = {"manager": "kubectl-edit", "operation": "Update"}
    raw["metadata"]["managedFields"] = [*applied, edited]
    cache.put(CONFIG_MAPS, raw)
    cache.put(PODS, raw)

    kept = cache.get(CONFIG_MAPS, "team", "clip")["metadata"]["managedFields"]
    assert [each["manager"] for each in kept] == ["lumen-operator", "argocd"]
    assert "managedFields" not in cache.get(PODS, "team", "clip")["metadata"]


def test_what_a_watch_delivered_is_not_changed_by_keeping_it():
    raw = an_object("clip")
    raw["metadata"]["managedFields"] = [{"manager": "x", "operation": "Update"}]
    ObjectCache().put(CONFIG_MAPS, raw)

    assert raw["metadata"]["managedFields"] == [{"manager": "x", "operation": "Update"}]


def test_a_nodes_list_of_images_is_not_kept():
    cache = ObjectCache()
    cache.put(NODES, an_object("n1", "", status={"images": [{}] * 50, "allocatable": {"cpu": "4"}}))

    assert cache.get(NODES, "", "n1")["status"] == {"allocatable": {"cpu": "4"}}


@pytest.mark.parametrize("strange", [{}, {"metadata": None}, {"metadata": {"labels": None}}])
def test_an_object_without_metadata_is_kept_without_harm(strange):
    cache = ObjectCache()
    cache.put(PODS, strange)

    assert len(cache.all(PODS)) == 1


@pytest.mark.parametrize("kind", [PODS, REPLICA_SETS])
def test_of_a_pods_spec_what_is_read_is_kept_and_the_rest_is_not(kind):
    pins = {"configMapKeyRef": {"name": "clip-pins-1", "key": "revision"}}
    spec = {
        "nodeName": "node",
        "containers": [
            {"name": "server", "image": "large", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        ],
        "initContainers": [
            {
                "name": "resources",
                "env": [
                    {"name": next(iter(PIN_ENV)), "valueFrom": pins},
                    {"name": "LUMEN_X", "value": "y"},
                ],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "clip-1"}},
            {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
            {"name": "tmp", "emptyDir": {}},
        ],
        "tolerations": [{"key": "a"}],
    }
    whole = spec if kind is PODS else {"replicas": 2, "template": {"spec": spec}}
    raw = an_object("clip", spec=whole)
    read = decode.read_pod if kind is PODS else decode.read_replica_set

    kept = trimmed(kind, raw)

    assert read(kept) == read(raw)
    assert read(raw).config_maps == {"clip-1", "clip-pins-1"}
    assert "image" not in str(kept)
    assert "tolerations" not in str(kept)


@pytest.mark.parametrize("kind", [PODS, REPLICA_SETS])
def test_of_the_labels_and_owners_of_pods_only_what_is_read_is_kept(kind):
    read = dict.fromkeys(decode.POD_LABELS, "x")
    others = {f"somebody.example/{i:04}": "x" * 63 for i in range(2000)}
    owners = [{"kind": "ReplicaSet", "name": f"rs-{i}", "uid": f"u{i}"} for i in range(500)]
    template = {"metadata": {"labels": {**others, **read}, "annotations": others}, "spec": {}}
    raw = an_object("clip-1", spec={"template": template})
    raw["metadata"] |= {"labels": {**others, **read}, "ownerReferences": owners}

    kept = trimmed(kind, raw)

    assert kept["metadata"]["labels"] == read
    assert kept["metadata"]["ownerReferences"] == owners[:1]
    if kind == REPLICA_SETS:
        assert kept["spec"]["template"]["metadata"] == {"labels": read}
