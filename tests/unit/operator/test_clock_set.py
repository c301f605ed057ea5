"""What runs while the clock is set: nothing is given up for it."""

from operator_rollouts import BAD, NO_GPU, failing, gpu_service, report_outside, steps
from operator_world import running, stamp, unschedulable

from lumen_manifest.conditions import ConditionType as C


def test_a_clock_that_is_set_makes_no_rollout_late_and_the_deadline_begins_anew(world):
    key = world.served()
    failing(world, key, **BAD)
    world.later(600)
    world.set_clock(3600)
    world.settle(key)
    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")
    assert world.decide(key).requeue_after_s == 900

    world.later(901, key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_a_clock_that_is_set_back_only_makes_patient(world):
    key = world.served()
    failing(world, key, **BAD)
    world.set_clock(-3600)
    for _ in range(2):
        world.later(1800, key)
        assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")

    world.later(901, key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_a_clock_that_is_set_makes_no_fetching_stand_still(world):
    key = world.settled()
    world.a_pod(key, "p1", initContainerStatuses=[running("resources", world.now)])
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)
    world.set_clock(3600)
    world.settle(key)
    assert world.status(key)["reason"] == "Fetching"

    world.later(121, key)
    assert world.status(key)["reason"] == "Stalled"


def test_a_clock_that_is_set_does_not_make_the_old_pod_go_before_the_new_one(world):
    key = gpu_service(world, devices=2)
    world.change(key, server={"maxBatchSize": 8})
    world.pod(key, "new")
    waits = [{**each, "lastTransitionTime": stamp(world.now)} for each in unschedulable(NO_GPU)]
    world.set_pod("new", node="", conditions=waits)
    world.set_clock(3600)
    world.settle(key)
    assert steps(world, key) == (1, 0)

    world.later(31, key)
    assert steps(world, key) == (0, 1)


def test_a_clock_that_is_set_does_not_make_a_server_outside_the_cluster_unready(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    report_outside(world, key, "board.lan:50051")
    world.settle(key)
    world.set_clock(3600)
    world.settle(key)

    assert world.status(key)["reason"] == ""
