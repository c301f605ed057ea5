"""Objects as nobody expects them: whatever stands in them, a decision is made."""

import copy
import itertools
import json

import pytest
from cluster_objects import paths_in
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_world import World, ended_badly, ended_well, failure, running, verified

from lumen_operator.decide import decide_pool, decide_service
from lumen_operator.observe.decode import ROLLOUT_ANNOTATION, read_replica_set
from lumen_operator.observe.gather import gather_pool, gather_service
from lumen_operator.observe.kinds import Key
from lumen_operator.observe.views import PodReport

strange = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 2**70, 1e300, "", "x" * 20_000, "9" * 5000, "\x00", "2026-13-45T99:99:99Z"]
    ),
    st.sampled_from([[], {}, [None], [[]], {"a": None}, [{"name": 3}], {"": {"": []}}]),
)


def a_busy_world() -> World:
    world = World()
    world.pool()
    world.gpu_pool()
    world.node("n1", devices=1)
    key = world.service(
        replicas=2,
        autoscaling={"maxReplicas": 3},
        labelSets=[{"name": "a"}],
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    )
    world.claim("models", "Bound")
    world.serve(key)
    world.change(key, server={"maxBatchSize": 8})
    for name, status in (
        ("a", {"initContainerStatuses": [running("resources")]}),
        ("b", {"initContainerStatuses": [ended_badly("resources", failure("DiskFull"))]}),
        ("c", {"containerStatuses": [ended_badly("server", "boom")]}),
        ("d", {"initContainerStatuses": [ended_well("resources", verified())]}),
    ):
        world.a_pod(key, name, **status)
    world.report("a", "resources", phase="Fetching", bytesDone=1, bytesTotal=2, etaSeconds=3)
    return world


BUSY = a_busy_world()
_uids = itertools.count()
KEY = Key("service", "photos", "clip")


# A name and a namespace are what objects are found by: they are what they are.
PLACES = [
    (key, path)
    for key, stored in sorted(BUSY.objects.items())
    for path in paths_in(stored)
    if path[0] not in {"apiVersion", "kind"} and path[:2] != ("metadata", "name")
]


def changed(place, value) -> World:
    key, path = place
    world = World()
    world.now, world.reports = BUSY.now, BUSY.reports
    world.objects = {**BUSY.objects, key: copy.deepcopy(BUSY.objects[key])}
    parent = world.objects[key]
    if path[:1] == ("spec",):
        parent["metadata"]["uid"] = str(next(_uids))  # a spec is parsed once
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return world


@given(place=st.sampled_from(PLACES), value=strange)
@settings(max_examples=150)
def test_no_object_however_strange_keeps_the_others_from_a_decision(place, value):
    world = changed(place, value)

    observed = gather_service(world, world.reports, KEY, world.now)
    if observed is not None:
        decision = decide_service(observed, world.context, world.now)
        json.dumps([decision.apply, decision.status])
    for pool in ("cpu", "cuda"):
        seen = gather_pool(world, Key("pool", "", pool))
        if seen is not None:
            decide_pool(seen, world.now)


pages = st.dictionaries(
    st.sampled_from(
        [
            *("phase", "bytesDone", "bytesTotal", "rateBytesPerS", "etaSeconds", "file", "files"),
            *("tasks", "modelId", "embeddingDim", "embeddingSpace", "runtime"),
        ]
    ),
    st.one_of(
        strange,
        st.sampled_from(
            ["serving", {"device": "cpu", "name": "onnx"}, {"digest": "d", "bytes": -1}]
        ),
    ),
)


@pytest.mark.parametrize(("pod", "container"), [("a", "resources"), ("clip-0", "server")])
@given(page=pages)
@settings(max_examples=100)
def test_no_status_page_however_strange_keeps_a_decision_from_being_made(pod, container, page):
    uid = BUSY.objects["pods", "photos", pod]["metadata"]["uid"]
    reports = {**BUSY.reports, uid: PodReport(uid, container, page, BUSY.now)}

    observed = gather_service(BUSY, reports, KEY, BUSY.now)
    assert observed is not None
    decision = decide_service(observed, BUSY.context, BUSY.now)

    assert len(json.dumps(decision.status)) < 64 * 1024


@pytest.mark.parametrize("number", ["9" * 5000, "٣", "-1", "x"])
def test_a_replica_set_whose_revision_is_no_number_counts_as_none(number):
    raw = {"metadata": {"name": "clip-1", "annotations": {ROLLOUT_ANNOTATION: number}}}

    assert read_replica_set(raw).rollout == 0
