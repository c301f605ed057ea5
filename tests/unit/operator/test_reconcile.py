import asyncio

import pytest
from reconciled import World, kind_fields, status_written

from lumen_cluster.errors import ApiUnavailable, Conflict, Forbidden, Refused
from lumen_operator.observe.kinds import CHILD_KINDS, POOLS, SERVICES, Key

CPU = Key("pool", "", "cpu")
CHILD_PATHS = [f"/{kind.plural}/" for kind in CHILD_KINDS]


@pytest.fixture
async def world():
    found = World()
    found.has_pool()
    found.has_service()
    return found


async def test_children_come_before_the_pods_that_need_them_and_the_status_last(world):
    assert await world.reconcile()
    kinds = world.kinds_written()

    assert kinds[:5] == [
        "ControllerRevision",
        "ConfigMap",
        "NetworkPolicy",
        "Service",
        "PodDisruptionBudget",
    ]
    assert kinds.index("Deployment") == 5
    assert kinds[-1] == "status"
    assert "Event" in kinds


async def test_nothing_is_applied_twice_though_no_watch_has_told_of_it_yet(world):
    await world.reconcile()
    world.server.made.clear()
    await world.reconcile()

    assert world.kinds_written() == []


async def test_a_child_that_is_refused_stops_what_follows_and_the_status_is_written_still(world):
    world.server.refuse["/configmaps"] = Forbidden("no", status=403)
    with pytest.raises(Forbidden):
        await world.reconcile()
    kinds = world.kinds_written()

    assert "Deployment" not in kinds
    assert kinds[-1] == "status"


@pytest.mark.parametrize("path", CHILD_PATHS)
async def test_a_refused_child_of_any_kind_is_in_the_status_in_the_servers_own_words(path):
    world = World()
    world.has_pool()
    world.has_service(autoscaling={"maxReplicas": 3})
    words = "no images from there"
    world.server.refuse[path] = Refused(f"PATCH x: 422 {words}", status=422, said=words)
    for _ in range(2):
        with pytest.raises(Refused):
            await world.reconcile()
    (status,) = [
        status_written(r)["status"] for r in world.server.made if r.path.endswith("/status")
    ]
    accepted, resources = status["conditions"][:2]

    assert (accepted["status"], accepted["reason"]) == ("False", "ChildRefused")
    assert words in accepted["message"]
    assert status["reason"] == "ChildRefused"
    assert resources["message"] == "There is no pod, and Accepted says why: ChildRefused."
    (told,) = [note for note in world.notes() if note["reason"] == "ChildRefused"]
    assert told["type"] == "Warning"


async def test_a_child_that_is_taken_in_the_end_clears_the_refusal(world):
    world.server.refuse["/deployments"] = Forbidden("no", status=403)
    with pytest.raises(Forbidden):
        await world.reconcile()
    world.server.refuse.clear()
    await world.reconcile()
    status = status_written(world.server.made[-1])["status"]

    assert status["conditions"][0]["reason"] == "Accepted"


async def test_a_clash_over_a_child_is_no_refusal(world):
    world.server.refuse_writes["/configmaps"] = Conflict("409 modified", status=409)
    with pytest.raises(Conflict):
        await world.reconcile()

    assert all(note["reason"] != "ChildRefused" for note in world.notes())


async def test_a_server_that_is_away_is_no_refusal(world):
    world.server.refuse["/deployments"] = ApiUnavailable("PATCH x: 503", status=503)
    with pytest.raises(ApiUnavailable):
        await world.reconcile()

    assert all(note["reason"] != "ChildRefused" for note in world.notes())


async def test_an_event_that_cannot_be_posted_does_not_keep_the_status_from_being_written(world):
    world.server.refuse["/events"] = ApiUnavailable("503", status=503)
    await world.reconcile()

    assert world.kinds_written()[-1] == "status"


async def test_a_spec_that_cannot_be_used_gets_a_status_and_no_children(world):
    metadata = {"name": "clip", "namespace": "team", "uid": "u9", "resourceVersion": "9"}
    world.knows(
        SERVICES,
        kind_fields("LumenModelService") | {"metadata": metadata, "spec": {"family": "nonsense"}},
    )
    await world.reconcile()

    assert set(world.kinds_written()) == {"status", "Event"}
    status = status_written(world.server.made[-1])["status"]
    assert status["conditions"][0]["reason"] == "InvalidSpec"


async def test_a_service_that_is_gone_is_no_work(world):
    assert await world.reconcile(Key("service", "team", "other")) is None
    assert world.server.made == []


async def test_a_missing_default_pool_is_created_and_another_pool_is_not(world):
    world.cache.drop(POOLS, ("", "cpu"), "u2")
    assert await world.reconcile(CPU) is None
    assert world.kinds_written() == ["LumenNodePool"]

    world.server.made.clear()
    assert await world.reconcile(Key("pool", "", "mine")) is None
    assert world.kinds_written() == []


async def test_a_pool_that_somebody_made_meanwhile_is_left_alone(world):
    world.cache.drop(POOLS, ("", "cpu"), "u2")
    world.server.refuse["/lumennodepools"] = Conflict("exists", status=409)

    assert await world.reconcile(CPU) is None


@pytest.mark.parametrize(("watched", "counts"), [("", True), ("team", False)])
async def test_an_operator_of_one_namespace_counts_no_devices_and_posts_nothing_elsewhere(
    watched, counts
):
    world = World(LUMEN_WATCH_NAMESPACE=watched)
    metadata = {"name": "cuda", "uid": "u3", "generation": 1, "resourceVersion": "7"}
    spec = {"accelerator": "cuda", "device": {"resource": "nvidia.com/gpu"}}
    world.knows(POOLS, {"metadata": metadata, "spec": spec} | kind_fields("LumenNodePool"))
    await world.reconcile(Key("pool", "", "cuda"))
    (status,) = (
        status_written(r)["status"] for r in world.server.made if r.path.endswith("/status")
    )

    assert ("devices" in status) is counts
    assert ("Event" in world.kinds_written()) is counts


async def test_writes_are_counted_by_kind_and_verb(world):
    await world.reconcile()

    assert world.figure('lumen_operator_writes_total{kind="Deployment",verb="apply"}') == 1
    assert world.figure('lumen_operator_writes_total{kind="LumenModelService",verb="status"}') == 1


async def test_two_reconciles_of_one_service_at_once_do_no_harm(world):
    await asyncio.gather(world.reconcile(), world.reconcile())
    world.server.made.clear()
    await world.reconcile()

    assert world.kinds_written() == []
