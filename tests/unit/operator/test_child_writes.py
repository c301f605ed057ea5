"""What is in the way of a child stays as it is, whenever it came; what is ours is repaired."""

import copy

import pytest
from reconciled import World

from lumen_cluster.client import APPLY_PATCH
from lumen_cluster.errors import BeingDeleted, Conflict, Refused
from lumen_cluster.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HEADLESS,
    HPAS,
    NETWORK_POLICIES,
    PDBS,
    REVISIONS,
    object_path,
)
from lumen_cluster.store import name_of
from lumen_operator.child_writer import ChildWrites, RefusedChild
from lumen_operator.observe.kinds import CHILD_KINDS, SERVICES, kind_of

SCALED = {"autoscaling": {"maxReplicas": 3}}
POLICY = "/apis/networking.k8s.io/v1/namespaces/team/networkpolicies/clip-lumen"
THEIRS = {"managedFields": [{"manager": "kubectl-create", "operation": "Update"}]}


@pytest.fixture
async def world():
    found = World()
    found.has_pool()
    found.has_service(**SCALED)
    return found


async def children():
    """Return every child as it would be written, by its path."""
    other = World()
    other.has_pool()
    other.has_service(**SCALED)
    await other.reconcile()
    kinds = {kind.kind for kind in CHILD_KINDS}
    applied = [r for r in other.server.made if r.content_type == APPLY_PATCH]
    return {r.path: _unbound(r.body) for r in applied if r.body["kind"] in kinds}


def _unbound(body):
    """Take the condition of an apply away."""
    metadata = {k: v for k, v in body["metadata"].items() if k != "resourceVersion"}
    return body | {"metadata": metadata}


def foreign(manifest, **metadata):
    """Describe an object of somebody else's that has a child's name."""
    named = {key: manifest["metadata"][key] for key in ("name", "namespace")}
    found = {key: manifest[key] for key in ("apiVersion", "kind")}
    return found | {"metadata": {**named, "uid": "theirs", "resourceVersion": "50", **metadata}}


def accepted(world):
    status = world.cache.get(SERVICES, "team", "clip")["status"]
    (found,) = [each for each in status["conditions"] if each["type"] == "Accepted"]
    return found["status"], found["reason"], found["message"]


def manifest_of(made, kind):
    return next(each for each in made.values() if kind_of(each) == kind)


async def in_the_way(world, kind, **metadata):
    """Put somebody else's object where a child of the kind is to be; return path and object."""
    manifest = manifest_of(await children(), kind)
    path, there = object_path(kind, *name_of(manifest)), foreign(manifest, **(metadata or THEIRS))
    world.server.stored[path] = there
    return path, there


@pytest.mark.parametrize("kind", CHILD_KINDS, ids=lambda kind: kind.kind)
async def test_an_object_of_somebody_elses_stays_and_blocks_the_service(world, kind):
    path, there = await in_the_way(world, kind)
    before = copy.deepcopy(there)
    await world.reconcile()

    assert world.server.stored[path] == before
    status, reason, message = accepted(world)
    assert (status, reason) == ("False", "FieldConflict")
    assert f"{kind.kind} {there['metadata']['name']}" in message
    assert "kubectl-create" in message
    assert kind is DEPLOYMENTS or "Deployment" not in world.kinds_written()[:-1]

    # While it stands nothing is written, and once it is gone the service goes on.
    world.server.made.clear()
    again_s = await world.reconcile()

    assert world.kinds_written() == []
    assert again_s <= 30

    del world.server.stored[path]
    await world.reconcile()
    assert accepted(world)[:2] == ("True", "Accepted")
    assert world.server.stored[path]["metadata"]["ownerReferences"][0]["uid"] == "u1"


@pytest.mark.parametrize("kind", CHILD_KINDS, ids=lambda kind: kind.kind)
async def test_one_that_carries_our_labels_is_known_without_asking(world, kind):
    made = manifest_of(await children(), kind)
    _, there = await in_the_way(world, kind, labels=made["metadata"]["labels"], **THEIRS)
    world.cache.put(kind, there)
    await world.reconcile()

    assert set(world.kinds_written()) == {"status", "Event"}
    assert all(request.method != "GET" for request in world.server.made)
    assert "kubectl-create" in accepted(world)[2]


@pytest.mark.parametrize("kind", [NETWORK_POLICIES, HEADLESS, PDBS, CONFIG_MAPS, HPAS, REVISIONS])
async def test_what_came_in_the_place_of_a_deleted_child_is_not_written_to(world, kind):
    await world.reconcile()
    path, there = await in_the_way(world, kind)
    kept = world.cache.get(kind, *name_of(there))
    # The child's drift is what is to be repaired; that it is another object nobody has told yet.
    world.cache.put(kind, kept | {"metadata": kept["metadata"] | {"labels": {}}})
    before = copy.deepcopy(there)
    writes = ChildWrites(world.reconciler.cluster, world.cache, world.metrics)
    with pytest.raises(Exception, match="kubectl-create"):
        await writes.apply(manifest_of(await children(), kind))

    assert world.server.stored[path] == before


async def test_a_child_that_was_deleted_without_our_knowing_is_made_anew(world):
    await world.reconcile()
    manifest = manifest_of(await children(), NETWORK_POLICIES)
    del world.server.stored[POLICY]
    await ChildWrites(world.reconciler.cluster, world.cache, world.metrics).apply(manifest)

    assert world.server.stored[POLICY]["spec"] == manifest["spec"]


async def test_a_child_that_lost_its_label_is_found_and_repaired(world):
    await world.reconcile()
    stored = world.server.stored[POLICY]
    uid = stored["metadata"]["uid"]
    stored["metadata"] = stored["metadata"] | {"labels": {}}
    world.cache.drop(NETWORK_POLICIES, ("team", "clip-lumen"), uid)
    await world.reconcile()

    assert accepted(world)[0] == "True"
    assert world.server.stored[POLICY]["metadata"]["labels"]["lumen.dev/service"] == "clip"
    assert world.server.stored[POLICY]["metadata"]["uid"] == uid


async def test_an_orphaned_child_is_adopted(world):
    applied = {"manager": "lumen-operator", "operation": "Apply", "fieldsV1": {}}
    await in_the_way(world, NETWORK_POLICIES, managedFields=[applied])
    await world.reconcile()

    assert accepted(world)[0] == "True"
    assert world.server.stored[POLICY]["metadata"]["uid"] == "theirs"


async def test_our_own_that_is_being_deleted_is_waited_for(world):
    applied = {"manager": "lumen-operator", "operation": "Apply", "fieldsV1": {}}
    await in_the_way(
        world, NETWORK_POLICIES, managedFields=[applied], deletionTimestamp="2026-01-01T00:00:00Z"
    )
    with pytest.raises(BeingDeleted):
        await world.reconcile()

    assert "spec" not in world.server.stored[POLICY]


async def test_a_new_service_costs_no_question(world):
    await world.reconcile()

    assert all(request.method != "GET" for request in world.server.made)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refused("422 no images from there", status=422), RefusedChild),
        (Conflict("409 again", status=409), Conflict),
    ],
)
async def test_a_refusal_of_what_is_ours_is_told_as_it_is(world, refusal, told):
    await world.reconcile()
    manifest = manifest_of(await children(), DEPLOYMENTS)
    world.server.refuse_writes["/deployments"] = refusal
    with pytest.raises(told, match=str(refusal)):
        await ChildWrites(world.reconciler.cluster, world.cache, world.metrics).apply(manifest)


async def test_an_apply_that_changed_nothing_is_counted_for_it_should_not_have_been_made(world):
    await world.reconcile()
    assert world.figure("lumen_operator_writes_in_vain_total") == 0

    writes = ChildWrites(world.reconciler.cluster, world.cache, world.metrics)
    deployment = manifest_of(await children(), DEPLOYMENTS)
    await writes.apply(deployment)
    assert world.figure("lumen_operator_writes_in_vain_total") == 0
    kept = world.cache.get(DEPLOYMENTS, "team", "clip-stable")
    world.server.version = int(kept["metadata"]["resourceVersion"]) - 1
    await writes.apply(deployment)
    assert world.figure("lumen_operator_writes_in_vain_total") == 1
