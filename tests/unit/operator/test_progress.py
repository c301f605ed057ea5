"""Fetching as its pods report it: shown, waited for, and stalled."""

from operator_scenes import with_init
from operator_world import running, stamp

from lumen_manifest.conditions import ConditionType as C


def test_a_restart_of_the_operator_is_no_progress(world):
    key = with_init(world, running("resources"))
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)
    world.later(100)
    world.reports.clear()
    world.settle(key)
    world.later(21)
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)

    assert world.status(key)["reason"] == "Stalled"


def test_a_pod_without_a_status_page_is_not_accused_of_standing_still(world):
    key = with_init(world, running("resources"))
    world.later(600, key)

    assert world.said(key, C.RESOURCES_READY) == ("False", "Fetching")


def test_whoever_waits_for_another_pod_s_fetching_does_not_stand_still(world):
    key = with_init(world, running("resources"))
    world.a_pod(key, "p2", initContainerStatuses=[running("resources")])
    for done in (1, 2, 3):
        world.report("p1", "resources", phase="Waiting", bytesDone=0)
        world.report("p2", "resources", phase="Fetching", bytesDone=done)
        world.reconcile(key)
        world.later(100)

    assert world.said(key, C.RESOURCES_READY) == ("False", "Fetching")


def test_progress_is_shown_and_goes_when_fetching_is_done(world):
    key = with_init(world, running("resources"))
    world.report("p1", "resources", phase="Fetching", bytesDone=30, bytesTotal=90, etaSeconds=4.6)
    world.settle(key)

    assert world.status(key)["files"]["progress"] == {
        "phase": "Fetching",
        "bytesDone": 30,
        "bytesTotal": 90,
        "etaSeconds": 5,
        "progressedAt": stamp(world.now),
    }
    world.ready(key, "p1")
    world.settle(key)
    assert "progress" not in world.status(key)["files"]


def test_the_next_look_is_when_standing_still_becomes_stalled(world):
    key = with_init(world, running("resources"))
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)
    world.later(50)

    assert world.decide(key).requeue_after_s == 70


def test_pods_are_asked_until_they_serve_and_once_after(world):
    key = with_init(world, running("resources"))
    world.settle(key)
    assert [each.container for each in world.decide(key).poll] == ["resources"]

    world.ready(key, "p1")
    world.settle(key)
    assert [each.container for each in world.decide(key).poll] == ["server"]

    world.report("p1", "server", phase="serving", runtime={"name": "onnx", "device": "cpu"})
    world.settle(key)
    assert world.decide(key).poll == ()
