"""When a rollout is given up, where it goes back to, what is progress, and a clock that is set."""

from operator_rollouts import BAD, NO_GPU, failing, gpu_service, report_outside, revision_of, steps
from operator_world import ended_badly, failure, running, stamp, unschedulable

from lumen_cluster.kinds import PODS
from lumen_manifest.conditions import ConditionType as C


def test_a_revision_that_fails_goes_back_to_the_stable_one_and_is_remembered(world):
    key = world.served()
    stable = revision_of(world, key)
    failing(world, key, **BAD)
    world.later(901, key)

    assert revision_of(world, key) == stable
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert world.status(key)["rejectedRevision"] not in {"", stable}
    message = world.condition(key, C.PROGRESSING)["message"]
    assert "got no further for 900 s" in message
    assert "Its last line: boom" in message

    # The failed pod is gone, time passes, the operator starts anew: it stays so.
    world.remove(PODS, "new")
    world.later(5000, key)
    assert revision_of(world, key) == stable
    assert world.condition(key, C.PROGRESSING)["message"] == message
    assert world.said(key, C.READY) == ("True", "Ready")


def test_replicas_follow_the_spec_while_the_rejected_revision_stands(world):
    key = world.served()
    failing(world, key, **BAD)
    world.later(901, key)
    world.change(key, replicas=4)

    assert world.deployment(key)["spec"]["replicas"] == 4
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_the_next_spec_is_tried_and_the_rejection_forgotten(world):
    key = world.served()
    failing(world, key, **BAD)
    world.later(901, key)
    world.remove(PODS, "new")
    world.change(key, resources={"limits": {"memory": "4Gi"}})

    assert world.status(key)["rejectedRevision"] == ""
    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_the_rejected_spec_is_tried_again_when_nothing_may_roll_it_back(world):
    key = world.served()
    failing(world, key, **BAD)
    world.later(901, key)
    rejected = world.status(key)["rejectedRevision"]
    world.change(key, rollout={"autoRollback": False})

    assert revision_of(world, key) == rejected
    assert world.status(key)["rejectedRevision"] == ""


def test_without_leave_to_roll_back_it_is_said_and_left(world):
    key = world.served(rollout={"autoRollback": False})
    stable = revision_of(world, key)
    failing(world, key, **BAD)
    world.later(901, key)

    assert revision_of(world, key) != stable
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutStalled")
    assert world.said(key, C.READY) == ("True", "Ready")


def test_a_first_revision_has_nowhere_to_go_back_to(world):
    key = world.settled()
    failing(world, key)
    world.later(901, key)

    assert world.said(key, C.PROGRESSING) == ("False", "RolloutStalled")
    assert world.status(key)["rejectedRevision"] == ""


def test_a_failure_that_no_retry_can_help_need_not_wait_for_the_deadline(world):
    key = world.served()
    stable = revision_of(world, key)
    world.change(key, model={"name": "Misspelt"})
    world.pod(key, "new")
    words = failure("RepositoryNotFound", "No repository Lumilio-Photos/Misspelt.")
    world.set_pod("new", initContainerStatuses=[ended_badly("resources", words, restarts=1)])
    world.settle(key)
    assert revision_of(world, key) != stable

    world.set_pod("new", initContainerStatuses=[ended_badly("resources", words, restarts=2)])
    world.settle(key)
    assert revision_of(world, key) == stable
    assert "No repository" in world.condition(key, C.PROGRESSING)["message"]


def test_the_deadline_runs_from_the_last_progress(world):
    key = world.served()
    world.change(key, model={"name": "MobileCLIP2-S4"})
    world.a_pod(key, "new", initContainerStatuses=[running("resources", world.now)])
    for done in range(1, 5):
        world.later(600)
        world.report("new", "resources", phase="Fetching", bytesDone=done)
        world.settle(key)
        assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")

    world.later(901, key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_pods_that_are_forbidden_run_into_the_deadline_too(world):
    key = world.served()
    world.change(key, **BAD)
    forbidden = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    since = {**forbidden, "lastTransitionTime": stamp(world.now)}
    world.replica_set(key, status={"conditions": [since]})
    world.settle(key)
    assert "exceeded quota" in world.condition(key, C.PROGRESSING)["message"]

    world.later(901, key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert "exceeded quota" in world.condition(key, C.PROGRESSING)["message"]


def test_crashing_again_and_again_is_no_progress(world):
    key = world.served()
    failing(world, key, **BAD)
    for minute in range(16):
        world.set_pod(
            "new",
            containerStatuses=[
                {
                    **ended_badly("server", "boom", restarts=minute),
                    **running("server", world.now),
                }
            ],
        )
        world.settle(key)
        world.later(60)

    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_being_evicted_and_made_anew_is_no_progress(world):
    key = world.served()
    world.change(key, cache={"sizeLimit": "1Mi"})
    for number in range(4):
        world.pod(key, f"new-{number}")
        world.set_pod(
            f"new-{number}",
            phase="Failed",
            reason="Evicted",
            message='Usage of EmptyDir volume "cache" exceeds the limit "1Mi".',
        )
        world.later(300, key)

    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert "evicted" in world.condition(key, C.PROGRESSING)["message"]


def test_each_pod_that_serves_is_progress(world):
    key = world.served(replicas=3)
    world.change(key, server={"maxBatchSize": 8})
    for number in range(3):
        world.pod(key, f"new-{number}")
        world.later(800)
        world.ready(key, f"new-{number}")
        world.settle(key)

        assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_the_next_look_is_when_the_deadline_passes(world):
    key = world.served()
    failing(world, key, **BAD)
    world.settle(key)
    world.later(300)

    assert world.decide(key).requeue_after_s == 600
    world.later(700, key)
    assert world.decide(key).requeue_after_s is None


def test_a_revision_applied_again_is_not_blamed_for_its_old_age(world):
    key = world.served()
    world.change(key, server={"maxBatchSize": 8})
    world.replica_set(key)
    world.change(key, server={"maxBatchSize": 16})
    world.later(5000)
    world.change(key, server={"maxBatchSize": 8})
    world.a_pod(key, "new", initContainerStatuses=[running("resources", world.now)])
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_a_pod_lost_later_is_no_rollout(world):
    key = world.served(replicas=2)
    world.remove(PODS, "clip-1")
    world.pod(key, "replacement")
    world.count(key)
    world.later(5000, key)

    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")


def test_scaling_to_zero_and_back_keeps_what_is_known(world):
    key = world.served()
    before = world.status(key)
    world.service(replicas=0)
    world.remove(PODS, "clip-0")
    world.count(key)
    world.settle(key)

    status = world.status(key)
    assert (status["reason"], status["ready"]) == ("ScaledToZero", "0/0")
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")
    kept = ("stableRevision", "embeddingSpace", "files", "routes")
    assert {k: status[k] for k in kept} == {k: before[k] for k in kept}

    world.change(key, replicas=2)
    assert world.deployment(key)["spec"]["replicas"] == 2


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
