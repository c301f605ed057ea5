"""A rollout whose vectors would be of another embedding space."""

from operator_rollouts import gpu_service, of_other_space, revision_of
from operator_world import OTHER_SPACE, SPACE, ended_badly, ended_well, unschedulable, verified

from lumen_cluster.kinds import PODS, REVISIONS
from lumen_manifest.conditions import ConditionType as C


def test_another_space_is_held_back_until_it_is_allowed(world):
    key = of_other_space(world)
    stable = world.status(key)["stableRevision"]
    world.settle(key)

    assert revision_of(world, key) == stable
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert "allowReindex: true" in world.condition(key, C.PROGRESSING)["message"]
    assert world.status(key)["embeddingSpace"] == SPACE
    assert world.said(key, C.READY) == ("True", "Ready")

    world.remove(PODS, "new")
    world.later(5000, key)
    assert revision_of(world, key) == stable


def test_another_space_serves_nobody_even_where_no_way_leads_back(world):
    key = of_other_space(world)
    world.remove(REVISIONS, world.status(key)["stableRevision"])
    world.settle(key)
    world.remove(PODS, "clip-0")
    world.ready(key, "new", space=OTHER_SPACE)
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("False", "RolloutStalled")
    assert world.status(key)["embeddingSpace"] == SPACE
    world.change(key, rollout={"allowReindex": True})
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE


def test_a_way_back_to_another_pool_looks_at_that_pool_s_nodes(world):
    key = gpu_service(world)
    world.change(key, pool="cpu")
    world.a_pod(key, "new", containerStatuses=[ended_badly("server", "boom")])
    world.later(901, key)
    world.remove(PODS, "clip-0")
    world.node("g1", labels={"gpu": "no"})
    world.a_pod(key, "back", node="", conditions=unschedulable("0/2 nodes are available."))
    world.settle(key)

    assert world.status(key)["reason"] == "NoNodeInPool"


def test_once_allowed_it_is_rolled_out_and_all_pods_switch_at_once(world):
    key = of_other_space(world)
    world.settle(key)
    world.remove(PODS, "new")
    world.change(key, rollout={"allowReindex": True})
    assert world.status(key)["embeddingSpace"] == SPACE

    world.ready(key, "new", space=OTHER_SPACE)
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE
    assert {route["embeddingSpace"] for route in world.status(key)["routes"]} == {OTHER_SPACE}


def test_the_space_switches_once_and_not_back_while_old_pods_remain(world):
    key = world.served(replicas=3, rollout={"allowReindex": True})
    world.change(key, model={"name": "MobileCLIP2-S4"})
    seen = []
    for number in range(3):
        world.ready(key, f"new-{number}", space=OTHER_SPACE)
        world.settle(key)
        seen.append(world.status(key)["embeddingSpace"])
        world.remove(PODS, f"clip-{number}")
        world.settle(key)
        seen.append(world.status(key)["embeddingSpace"])

    assert seen == [SPACE, SPACE, OTHER_SPACE, OTHER_SPACE, OTHER_SPACE, OTHER_SPACE]


def test_the_same_space_in_another_precision_is_rolled_out(world):
    key = world.served()
    world.change(key, model={"precision": "fp16"})
    world.a_pod(key, "new", initContainerStatuses=[ended_well("resources", verified())])
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_before_anything_served_the_model_may_change_its_space(world):
    key = world.settled()
    world.a_pod(key, "p1", initContainerStatuses=[ended_well("resources", verified())])
    world.settle(key)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.remove(PODS, "p1")
    world.settle(key)
    world.ready(key, "new", space=OTHER_SPACE)
    world.settle(key)

    assert world.status(key)["embeddingSpace"] == OTHER_SPACE
