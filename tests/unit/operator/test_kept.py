"""Which specs, settings and pins are kept after a rollout, and which go."""

from operator_rollouts import pins_of

from lumen_cluster.kinds import CONFIG_MAPS, PODS, REPLICA_SETS, REVISIONS
from lumen_operator.observe.views import RevisionView
from lumen_operator.rollout.pins import number_of


def test_five_specs_are_kept_and_the_stable_one_always(world):
    key = world.served()
    stable = world.status(key)["stableRevision"]
    for size in range(1, 9):
        world.change(key, server={"maxBatchSize": size})

    assert len(world.names(REVISIONS)) == 5
    assert stable in world.names(REVISIONS)


def test_a_spec_that_comes_back_is_the_newest_again(world):
    key = world.settled()
    for size in (1, 2, 1):
        world.change(key, server={"maxBatchSize": size})

    numbers = sorted(each["revision"] for each in world.all(REVISIONS))
    assert numbers == [1, 3, 4]
    assert world.decide(key).apply == ()


def test_a_revision_of_the_largest_number_that_somebody_wrote_overflows_nothing():
    forged = RevisionView("forged", "u9", 2**63 - 1, {})
    mine = RevisionView("mine", "u1", 2**63 - 1, {})

    assert number_of((forged,), "mine") == 2**63 - 1
    assert number_of((forged, mine), "mine") == 2**63 - 1


def test_settings_go_when_no_pod_and_no_replica_set_uses_them(world):
    key = world.served()
    settings = {n for n in world.names(CONFIG_MAPS) if "-pins-" not in n}
    world.change(key, server={"maxBatchSize": 8})
    assert settings < world.names(CONFIG_MAPS)

    world.count(key)
    for each in world.all(REPLICA_SETS):
        world.remove(REPLICA_SETS, each["metadata"]["name"])
    world.settle(key)
    assert settings < world.names(CONFIG_MAPS), "a pod still mounts them"

    world.remove(PODS, "clip-0")
    world.settle(key)
    assert not settings & world.names(CONFIG_MAPS)


def test_the_pins_of_the_stable_revision_stay_for_the_way_back(world):
    key = world.served()
    (pin,) = pins_of(world)
    world.change(key, model={"name": "MobileCLIP2-S4"})
    world.count(key)
    for each in world.all(REPLICA_SETS):
        world.remove(REPLICA_SETS, each["metadata"]["name"])
    world.remove(PODS, "clip-0")
    world.settle(key)

    assert pin in pins_of(world)


def test_settings_of_a_replica_set_in_the_making_stay(world):
    key = world.served()
    world.change(key, server={"maxBatchSize": 8})
    before = world.names(CONFIG_MAPS)
    world.change(key, server={"maxBatchSize": 16})

    assert before < world.names(CONFIG_MAPS), "the controller may make pods of it at this moment"
