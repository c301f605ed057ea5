"""How new pods replace old ones, where devices are few and where they are not."""

from operator_rollouts import NO_GPU, gpu_service, revision_of, steps
from operator_world import NAMESPACE, unschedulable

from lumen_cluster.kinds import PODS
from lumen_manifest.conditions import ConditionType as C


def test_when_the_old_pod_holds_the_only_device_it_goes_first_until_done(world):
    key = gpu_service(world)
    world.change(key, server={"maxBatchSize": 8})
    world.a_pod(key, "new", node="", conditions=unschedulable(NO_GPU))
    world.settle(key)
    assert steps(world, key) == (0, 1)

    # The old pod drains; the new one has not been told of the free device yet.
    world.objects["pods", NAMESPACE, "clip-0"]["metadata"]["deletionTimestamp"] = "now"
    world.set_pod("new", node="g1")
    world.objects["pods", NAMESPACE, "clip-0"]["metadata"].pop("deletionTimestamp")
    world.settle(key)
    assert steps(world, key) == (0, 1)

    world.remove(PODS, "clip-0")
    world.ready(key, "new")
    world.settle(key)
    assert steps(world, key) == (1, 0)


def test_an_old_pod_without_a_device_does_not_go_first(world):
    world.node("g1", devices=1)
    world.served("bioclip", family="bioclip", pool="cuda")
    key = world.served()
    world.change(key, pool="cuda")
    world.a_pod(key, "new", node="", conditions=unschedulable(NO_GPU))
    world.settle(key)

    assert steps(world, key) == (1, 0)
    assert "held by" in world.condition(key, C.PROGRESSING)["message"]


def test_where_the_pool_is_too_small_anyway_one_more_may_be_missing(world):
    key = gpu_service(world, devices=2, replicas=3)
    world.set_pod("clip-2", node="", conditions=unschedulable(NO_GPU))
    world.change(key, server={"maxBatchSize": 8})
    world.a_pod(key, "new", node="", conditions=unschedulable(NO_GPU))
    world.settle(key)

    assert steps(world, key) == (0, 2)


def test_a_pod_without_a_device_does_not_speak_against_the_revision(world):
    key = gpu_service(world, devices=2, replicas=3)
    world.change(key, server={"maxBatchSize": 8})
    for number in range(3):
        world.remove(PODS, f"clip-{number}")
        world.ready(key, f"new-{number}")
    world.set_pod("new-2", node="", conditions=unschedulable(NO_GPU))
    world.count(key)
    world.settle(key)
    world.later(5000, key)

    assert world.status(key)["stableRevision"] == revision_of(world, key)
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")
