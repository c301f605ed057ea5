"""Whom a change concerns; one that is said to concern nobody changes no decision."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_watched import WatchedCluster, lives

from lumen_cluster.kinds import (
    CLAIMS,
    DEPLOYMENTS,
    HEADLESS,
    HPAS,
    NETWORK_POLICIES,
    NODES,
    PDBS,
    PODS,
    REPLICA_SETS,
    ObjectKind,
)
from lumen_operator.observe.kinds import CHILD_KINDS, POOLS, SERVICES, Key
from lumen_operator.observe.mapping import map_to_keys
from lumen_operator.observe.store import ObjectCache

CPU = Key("pool", "", "cpu")
GPU = Key("pool", "", "cuda")


def service_key(name, namespace="team"):
    return Key("service", namespace, name)


def a_service(
    name, namespace="team", pool="cpu", reason="", default=False, family="clip", aliases=()
):
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"u-{name}"},
        "spec": {"pool": pool, "default": default, "family": family, "aliases": list(aliases)},
        "status": {"reason": reason},
    }


def a_pool(name, **selector):
    return {"metadata": {"name": name, "uid": name}, "spec": {"nodeSelector": selector}}


def a_node(name="n1", ready="True", heartbeat="1", **labels):
    return {
        "metadata": {"name": name, "uid": name, "labels": labels},
        "status": {
            "allocatable": {"nvidia.com/gpu": "1"},
            "conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat}],
        },
    }


def a_child(service="clip", **rest):
    labels = {"lumen.dev/service": service}
    return {"metadata": {"name": "child", "namespace": "team", "labels": labels}, **rest}


@pytest.fixture
def cache():
    cache = ObjectCache()
    for pool in (a_pool("cpu"), a_pool("cuda", gpu="yes")):
        cache.put(POOLS, pool)
    for service in (
        a_service("clip"),
        a_service("waits", pool="cuda", reason="NoNodeInPool"),
        a_service("elsewhere", namespace="other", pool="cuda"),
    ):
        cache.put(SERVICES, service)
    return cache


@pytest.mark.parametrize("states", [(None, a_child()), (a_child(), None)], ids=["new", "gone"])
def test_a_child_that_comes_or_goes_concerns_its_service(cache, states):
    assert map_to_keys(cache, DEPLOYMENTS, *states) == {service_key("clip")}


@pytest.mark.parametrize("kind", [DEPLOYMENTS, REPLICA_SETS], ids=lambda kind: kind.kind)
def test_a_child_whose_label_was_changed_concerns_both_services(cache, kind):
    both = map_to_keys(cache, kind, a_child("clip"), a_child("waits"))

    assert both == {service_key("clip"), service_key("waits")}


def test_a_service_concerns_those_that_want_to_be_the_same_default(cache):
    for each in ("one", "two"):
        cache.put(SERVICES, a_service(each, default=True))
    cache.put(SERVICES, a_service("three", default=True, family="bioclip"))
    gone = map_to_keys(cache, SERVICES, a_service("one", default=True), None)

    assert gone == {service_key("one"), service_key("two")}


def test_a_service_concerns_those_that_ask_for_one_of_its_names(cache):
    for name, aliases in (("one", ["fast"]), ("two", ["one"]), ("three", ["slow"])):
        cache.put(SERVICES, a_service(name, aliases=aliases))
    gone = map_to_keys(cache, SERVICES, a_service("one", aliases=["fast"]), None)

    assert gone == {service_key("one"), service_key("two")}


def test_what_a_default_service_says_of_itself_concerns_no_rival(cache):
    for each in ("one", "two"):
        cache.put(SERVICES, a_service(each, default=True))
    before, after = (
        a_service("one", default=True),
        a_service("one", default=True, reason="Fetching"),
    )

    assert map_to_keys(cache, SERVICES, before, after) == {service_key("one")}


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"default": False, "family": "clip"}},
        {"spec": {"default": True, "family": "bioclip"}},
        {"metadata": {"name": "one", "namespace": "team", "deletionTimestamp": "now"}},
        {"metadata": {"name": "one", "namespace": "team", "creationTimestamp": "later"}},
    ],
)
def test_what_rivals_read_of_a_default_service_concerns_them(cache, change):
    for each in ("one", "two"):
        cache.put(SERVICES, a_service(each, default=True))
    before = a_service("one", default=True)

    assert service_key("two") in map_to_keys(cache, SERVICES, before, before | change)


WAITS = service_key("waits")
CASES = {
    "a pool concerns the services on it": (
        (POOLS, None, a_pool("cuda")),
        {GPU, WAITS, service_key("elsewhere", "other")},
    ),
    "a new node concerns its pools and the services that wait for one": (
        (NODES, None, a_node(gpu="yes")),
        {CPU, GPU, WAITS},
    ),
    "a node that loses its label concerns the pool that it left": (
        (NODES, a_node(gpu="yes"), a_node()),
        {CPU, GPU, WAITS},
    ),
    "a node's heartbeat concerns nobody": (
        (NODES, a_node(heartbeat="1"), a_node(heartbeat="2")),
        set(),
    ),
    "a node that is not ready any more concerns its pools": (
        (NODES, a_node(), a_node(ready="False")),
        {CPU},
    ),
    "a pod that got a node concerns the pool whose devices it takes": (
        (PODS, a_child(spec={}), a_child(spec={"nodeName": "n1"})),
        {service_key("clip"), CPU},
    ),
    "a pod that got ready changes no count of devices": (
        (PODS, a_child(status={"phase": "Pending"}), a_child(status={"phase": "Running"})),
        {service_key("clip")},
    ),
    "a claim concerns the services of its namespace that wait": (
        (CLAIMS, None, {"metadata": {"name": "models", "namespace": "team"}}),
        {WAITS},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_a_child_concerns_those_who_read_it(cache, case):
    change, keys = CASES[case]

    assert map_to_keys(cache, *change) == keys


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (PDBS, {"disruptionsAllowed": 1}),
        (NETWORK_POLICIES, {"conditions": []}),
        (HEADLESS, {"loadBalancer": {}}),
        (DEPLOYMENTS, {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
        (REPLICA_SETS, {"replicas": 2, "readyReplicas": 2, "observedGeneration": 2}),
        (HPAS, {"currentReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}]}),
    ],
    ids=lambda each: each.kind if isinstance(each, ObjectKind) else "",
)
def test_what_controllers_count_concerns_nobody(cache, kind, status):
    assert map_to_keys(cache, kind, a_child(status={}), a_child(status=status)) == set()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (DEPLOYMENTS, {"observedGeneration": 2}),
        (DEPLOYMENTS, {"conditions": [{"type": "ReplicaFailure", "status": "True"}]}),
        (REPLICA_SETS, {"conditions": [{"type": "ReplicaFailure", "status": "True"}]}),
        (HPAS, {"conditions": [{"type": "ScalingActive", "status": "False"}]}),
    ],
    ids=lambda each: each.kind if isinstance(each, ObjectKind) else "",
)
def test_what_controllers_say_that_decisions_read_concerns_the_service(cache, kind, status):
    found = map_to_keys(cache, kind, a_child(status={}), a_child(status=status))

    assert found == {service_key("clip")}


@pytest.mark.parametrize("kind", CHILD_KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    "written",
    [
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"annotations": {"a": "b"}},
        {"ownerReferences": [{"uid": "u"}]},
        {"managedFields": [{"manager": "argocd", "operation": "Apply"}]},
        {"labels": {"lumen.dev/service": "clip", "a": "b"}},
        {"uid": "another"},
        *({part: 2} for part in ("spec", "data", "revision", "immutable")),
    ],
    ids=lambda written: next(iter(written)),
)
def test_what_anybody_writes_into_a_child_concerns_its_service(cache, kind, written):
    before = a_child(spec=1, data=1, revision=1, immutable=1)
    in_it = {name: value for name, value in written.items() if name in before}
    after = before | in_it | {"metadata": before["metadata"] | ({} if in_it else written)}

    assert map_to_keys(cache, kind, before, after) == {service_key("clip")}


@given(devices=st.none() | st.integers(0, 2), happens=lives)
@settings(max_examples=40)
def test_what_concerns_nobody_changes_no_decision(devices, happens):
    cluster = WatchedCluster(devices=devices)
    for step in happens:
        cluster.happens(step)
        before = cluster.look_at_all()
        for kind, old, new in cluster.tell():
            after = cluster.look_at_all()
            assert map_to_keys(cluster.cache, kind, old, new) or after == before
            before = after
