"""How a change of the spec reaches the pods: pins, steps, deadlines, ways back, spaces."""

import pytest
from operator_world import (
    NAMESPACE,
    OTHER_SPACE,
    SPACE,
    World,
    ended_badly,
    ended_well,
    failure,
    running,
    stamp,
    unschedulable,
    verified,
)

from lumen_manifest.conditions import ConditionType as C
from lumen_operator.kinds import CONFIG_MAPS, PODS, REPLICA_SETS, REVISIONS, SERVICES, Key
from lumen_operator.views import PodReport

NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


@pytest.fixture
def world() -> World:
    made = World()
    made.pool()
    made.gpu_pool()
    made.node("n1")
    return made


def pins_of(world: World) -> dict[str, dict]:
    return {
        each["metadata"]["name"]: each["data"]
        for each in world.all(CONFIG_MAPS)
        if "-pins-" in each["metadata"]["name"]
    }


def steps(world: World, key: Key) -> tuple[int, int]:
    found = world.deployment(key)["spec"]["strategy"]["rollingUpdate"]
    return found["maxSurge"], found["maxUnavailable"]


def revision_of(world: World, key: Key) -> str:
    labels = world.deployment(key)["spec"]["template"]["metadata"]["labels"]
    return labels["lumen.dev/revision"]


def failing(world: World, key: Key, **spec) -> None:
    """Change the spec, and let the first new pod fail."""
    world.service(key.name, **spec)
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", containerStatuses=[ended_badly("server", "boom")])


BAD = {"resources": {"limits": {"memory": "1Mi"}}}


# Pins


def test_one_pod_runs_until_it_has_shown_which_files_all_shall_have(world):
    key = world.service(replicas=3)
    world.settle(key)
    assert world.deployment(key)["spec"]["replicas"] == 1
    assert pins_of(world) == {}

    world.pod(key)
    world.set_pod("p1", initContainerStatuses=[ended_well("resources", verified())])
    world.settle(key)

    (pin,) = pins_of(world).values()
    assert (pin["revision"], pin["digest"]) == ("commit-1", "d" * 64)
    assert world.deployment(key)["spec"]["replicas"] == 3


def test_a_pin_never_moves_whatever_later_pods_find(world):
    key = world.service(replicas=2)
    world.serve(key)
    before = pins_of(world)
    world.ready(key, "clip-0", revision="commit-2")
    world.settle(key)

    assert pins_of(world) == before


def test_without_a_word_from_the_init_container_the_server_s_page_pins(world):
    key = world.service(replicas=3)
    world.settle(key)
    world.pod(key)
    world.ready(key, "p1")
    for status in world.objects["pods", NAMESPACE, "p1"]["status"]["initContainerStatuses"]:
        status["state"]["terminated"]["message"] = ""
    world.settle(key)
    assert pins_of(world) == {}

    files = {"revision": "commit-9", "digest": "e" * 64, "bytes": 5}
    world.report("p1", "server", phase="serving", embeddingSpace=SPACE, files=files)
    world.settle(key)

    (pin,) = pins_of(world).values()
    assert (pin["revision"], pin["digest"], pin["embeddingSpace"]) == ("commit-9", "e" * 64, SPACE)


def test_another_model_starts_with_pins_of_its_own(world):
    key = world.service()
    world.serve(key)
    (before,) = pins_of(world)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.settle(key)

    assert list(pins_of(world)) == [before]
    world.pod(key, "new")
    world.ready(key, "new", revision="commit-7")
    world.settle(key)
    assert {pin["revision"] for pin in pins_of(world).values()} == {"commit-1", "commit-7"}


def test_the_commit_stays_when_only_label_sets_change(world):
    key = world.service(replicas=2)
    world.serve(key)
    world.service(labelSets=[{"name": "a"}])
    world.settle(key)

    new = [pin for pin in pins_of(world).values() if not pin["digest"]]
    assert [pin["revision"] for pin in new] == ["commit-1"]
    assert world.deployment(key)["spec"]["replicas"] == 2


def test_a_new_model_does_not_cost_the_pods_that_serve(world):
    key = world.service(replicas=3)
    world.serve(key)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.settle(key)

    assert world.deployment(key)["spec"]["replicas"] == 3
    assert steps(world, key) == (1, 0)


# Steps


def gpu_service(world: World, devices: int = 1, **spec) -> Key:
    world.node("g1", devices=devices)
    key = world.service(pool="cuda", **spec)
    world.serve(key)
    for pod in world.all(PODS):
        pod["spec"]["nodeName"] = "g1"
    return key


def test_the_new_pod_comes_before_the_old_one_goes(world):
    key = gpu_service(world, devices=2)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)

    assert steps(world, key) == (1, 0)


def test_when_the_old_pod_holds_the_only_device_it_goes_first_until_done(world):
    key = gpu_service(world)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", node="", conditions=unschedulable(NO_GPU))
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
    other = world.service("bioclip", family="bioclip", pool="cuda")
    world.serve(other)
    key = world.service()
    world.serve(key)
    world.service(pool="cuda")
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", node="", conditions=unschedulable(NO_GPU))
    world.settle(key)

    assert steps(world, key) == (1, 0)
    assert "held by" in world.condition(key, C.PROGRESSING)["message"]


def test_where_the_pool_is_too_small_anyway_one_more_may_be_missing(world):
    key = gpu_service(world, devices=2, replicas=3)
    world.set_pod("clip-2", node="", conditions=unschedulable(NO_GPU))
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", node="", conditions=unschedulable(NO_GPU))
    world.settle(key)

    assert steps(world, key) == (0, 2)


def test_a_pod_without_a_device_does_not_speak_against_the_revision(world):
    key = gpu_service(world, devices=2, replicas=3)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    for number in range(3):
        world.remove(PODS, f"clip-{number}")
        world.pod(key, f"new-{number}")
        world.ready(key, f"new-{number}")
    world.set_pod("new-2", node="", conditions=unschedulable(NO_GPU))
    world.count(key)
    world.settle(key)
    world.later(5000)
    world.settle(key)

    assert world.status(key)["stableRevision"] == revision_of(world, key)
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")


# Deadlines and ways back


def test_a_revision_that_fails_goes_back_to_the_stable_one_and_is_remembered(world):
    key = world.service()
    world.serve(key)
    stable = revision_of(world, key)
    failing(world, key, **BAD)
    world.later(901)
    world.settle(key)

    assert revision_of(world, key) == stable
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert world.status(key)["rejectedRevision"] not in {"", stable}
    message = world.condition(key, C.PROGRESSING)["message"]
    assert "got no further for 900 s" in message
    assert "Its last line: boom" in message

    # The failed pod is gone, time passes, the operator starts anew: it stays so.
    world.remove(PODS, "new")
    world.later(5000)
    world.settle(key)
    assert revision_of(world, key) == stable
    assert world.condition(key, C.PROGRESSING)["message"] == message
    assert world.said(key, C.READY) == ("True", "Ready")


def test_replicas_follow_the_spec_while_the_rejected_revision_stands(world):
    key = world.service()
    world.serve(key)
    failing(world, key, **BAD)
    world.later(901)
    world.settle(key)
    world.service(replicas=4)
    world.settle(key)

    assert world.deployment(key)["spec"]["replicas"] == 4
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_the_next_spec_is_tried_and_the_rejection_forgotten(world):
    key = world.service()
    world.serve(key)
    failing(world, key, **BAD)
    world.later(901)
    world.settle(key)
    world.remove(PODS, "new")
    world.service(resources={"limits": {"memory": "4Gi"}})
    world.settle(key)

    assert world.status(key)["rejectedRevision"] == ""
    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_the_rejected_spec_is_tried_again_when_nothing_may_roll_it_back(world):
    key = world.service()
    world.serve(key)
    failing(world, key, **BAD)
    world.later(901)
    world.settle(key)
    rejected = world.status(key)["rejectedRevision"]
    world.service(rollout={"autoRollback": False})
    world.settle(key)

    assert revision_of(world, key) == rejected
    assert world.status(key)["rejectedRevision"] == ""


def test_without_leave_to_roll_back_it_is_said_and_left(world):
    key = world.service(rollout={"autoRollback": False})
    world.serve(key)
    stable = revision_of(world, key)
    failing(world, key, **BAD)
    world.later(901)
    world.settle(key)

    assert revision_of(world, key) != stable
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutStalled")
    assert world.said(key, C.READY) == ("True", "Ready")


def test_a_first_revision_has_nowhere_to_go_back_to(world):
    key = world.service()
    world.settle(key)
    failing(world, key)
    world.later(901)
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("False", "RolloutStalled")
    assert world.status(key)["rejectedRevision"] == ""


def test_a_failure_that_no_retry_can_help_need_not_wait_for_the_deadline(world):
    key = world.service()
    world.serve(key)
    stable = revision_of(world, key)
    world.service(model={"name": "Misspelt"})
    world.settle(key)
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
    key = world.service()
    world.serve(key)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", initContainerStatuses=[running("resources", world.now)])
    for done in range(1, 5):
        world.later(600)
        world.report("new", "resources", phase="Fetching", bytesDone=done)
        world.settle(key)
        assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")

    world.later(901)
    world.settle(key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_pods_that_are_forbidden_run_into_the_deadline_too(world):
    key = world.service()
    world.serve(key)
    world.service(**BAD)
    world.settle(key)
    forbidden = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    since = {**forbidden, "lastTransitionTime": stamp(world.now)}
    world.replica_set(key, status={"conditions": [since]})
    world.settle(key)
    assert "exceeded quota" in world.condition(key, C.PROGRESSING)["message"]

    world.later(901)
    world.settle(key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert "exceeded quota" in world.condition(key, C.PROGRESSING)["message"]


def test_crashing_again_and_again_is_no_progress(world):
    key = world.service()
    world.serve(key)
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
    key = world.service()
    world.serve(key)
    world.service(cache={"sizeLimit": "1Mi"})
    world.settle(key)
    for number in range(4):
        world.pod(key, f"new-{number}")
        world.set_pod(
            f"new-{number}",
            phase="Failed",
            reason="Evicted",
            message='Usage of EmptyDir volume "cache" exceeds the limit "1Mi".',
        )
        world.later(300)
        world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")
    assert "evicted" in world.condition(key, C.PROGRESSING)["message"]


def test_each_pod_that_serves_is_progress(world):
    key = world.service(replicas=3)
    world.serve(key)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    for number in range(3):
        world.pod(key, f"new-{number}")
        world.later(800)
        world.ready(key, f"new-{number}")
        world.settle(key)

        assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_the_next_look_is_when_the_deadline_passes(world):
    key = world.service()
    world.serve(key)
    failing(world, key, **BAD)
    world.settle(key)
    world.later(300)

    assert world.decide(key).again_in_s == 600
    world.later(700)
    world.settle(key)
    assert world.decide(key).again_in_s is None


def test_a_service_at_rest_asks_for_no_further_look(world):
    key = world.service()
    world.serve(key)

    assert world.decide(key).again_in_s is None


def test_a_revision_applied_again_is_not_blamed_for_its_old_age(world):
    key = world.service()
    world.serve(key)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    world.replica_set(key)
    world.service(server={"maxBatchSize": 16})
    world.settle(key)
    world.later(5000)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", initContainerStatuses=[running("resources", world.now)])
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_a_pod_lost_later_is_no_rollout(world):
    key = world.service(replicas=2)
    world.serve(key)
    world.remove(PODS, "clip-1")
    world.pod(key, "replacement")
    world.count(key)
    world.later(5000)
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")


def test_scaling_to_zero_and_back_keeps_what_is_known(world):
    key = world.service()
    world.serve(key)
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

    world.service(replicas=2)
    world.settle(key)
    assert world.deployment(key)["spec"]["replicas"] == 2


# Embedding spaces


def of_other_space(world: World) -> Key:
    """A service whose new model's first pod has verified files of another space."""
    key = world.service()
    world.serve(key)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.settle(key)
    world.pod(key, "new")
    words = verified(revision="commit-7", embeddingSpace=OTHER_SPACE, digest="e" * 64)
    world.set_pod("new", initContainerStatuses=[ended_well("resources", words)])
    return key


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
    world.later(5000)
    world.settle(key)
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
    world.service(rollout={"allowReindex": True})
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE


def test_a_way_back_to_another_pool_looks_at_that_pool_s_nodes(world):
    key = gpu_service(world)
    world.service(pool="cpu")
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", containerStatuses=[ended_badly("server", "boom")])
    world.later(901)
    world.settle(key)
    world.remove(PODS, "clip-0")
    world.node("g1", labels={"gpu": "no"})
    world.pod(key, "back")
    world.set_pod("back", node="", conditions=unschedulable("0/2 nodes are available."))
    world.settle(key)

    assert world.status(key)["reason"] == "NoNodeInPool"


def test_once_allowed_it_is_rolled_out_and_all_pods_switch_at_once(world):
    key = of_other_space(world)
    world.settle(key)
    world.remove(PODS, "new")
    world.service(rollout={"allowReindex": True})
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == SPACE

    world.pod(key, "new")
    world.ready(key, "new", space=OTHER_SPACE)
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE
    assert {route["embeddingSpace"] for route in world.status(key)["routes"]} == {OTHER_SPACE}


def test_the_space_switches_once_and_not_back_while_old_pods_remain(world):
    key = world.service(replicas=3, rollout={"allowReindex": True})
    world.serve(key)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.settle(key)
    seen = []
    for number in range(3):
        world.pod(key, f"new-{number}")
        world.ready(key, f"new-{number}", space=OTHER_SPACE)
        world.settle(key)
        seen.append(world.status(key)["embeddingSpace"])
        world.remove(PODS, f"clip-{number}")
        world.settle(key)
        seen.append(world.status(key)["embeddingSpace"])

    assert seen == [SPACE, SPACE, OTHER_SPACE, OTHER_SPACE, OTHER_SPACE, OTHER_SPACE]


def test_the_same_space_in_another_precision_is_rolled_out(world):
    key = world.service()
    world.serve(key)
    world.service(model={"precision": "fp16"})
    world.settle(key)
    world.pod(key, "new")
    world.set_pod("new", initContainerStatuses=[ended_well("resources", verified())])
    world.settle(key)

    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")


def test_before_anything_served_the_model_may_change_its_space(world):
    key = world.service()
    world.settle(key)
    world.pod(key)
    world.set_pod("p1", initContainerStatuses=[ended_well("resources", verified())])
    world.settle(key)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.remove(PODS, "p1")
    world.settle(key)
    world.pod(key, "new")
    world.ready(key, "new", space=OTHER_SPACE)
    world.settle(key)

    assert world.status(key)["embeddingSpace"] == OTHER_SPACE


# What is kept, and what goes


def test_five_specs_are_kept_and_the_stable_one_always(world):
    key = world.service()
    world.serve(key)
    stable = world.status(key)["stableRevision"]
    for size in range(1, 9):
        world.service(server={"maxBatchSize": size})
        world.settle(key)

    assert len(world.names(REVISIONS)) == 5
    assert stable in world.names(REVISIONS)


def test_a_spec_that_comes_back_is_the_newest_again(world):
    key = world.service()
    world.settle(key)
    for size in (1, 2, 1):
        world.service(server={"maxBatchSize": size})
        world.settle(key)

    numbers = sorted(each["revision"] for each in world.all(REVISIONS))
    assert numbers == [1, 3, 4]
    assert world.decide(key).apply == ()


def test_settings_go_when_no_pod_and_no_replica_set_uses_them(world):
    key = world.service()
    world.serve(key)
    settings = {n for n in world.names(CONFIG_MAPS) if "-pins-" not in n}
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
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
    key = world.service()
    world.serve(key)
    (pin,) = pins_of(world)
    world.service(model={"name": "MobileCLIP2-S4"})
    world.settle(key)
    world.count(key)
    for each in world.all(REPLICA_SETS):
        world.remove(REPLICA_SETS, each["metadata"]["name"])
    world.remove(PODS, "clip-0")
    world.settle(key)

    assert pin in pins_of(world)


def test_settings_of_a_replica_set_in_the_making_stay(world):
    key = world.service()
    world.serve(key)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    before = world.names(CONFIG_MAPS)
    world.service(server={"maxBatchSize": 16})
    world.settle(key)

    assert before < world.names(CONFIG_MAPS), "the controller may make pods of it at this moment"


# A server outside the cluster


def test_an_external_server_is_routed_to_and_attested_and_nothing_is_deployed(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    decision = world.reconcile(key)

    assert decision.apply == ()
    (address,) = decision.poll
    assert (address.ip, address.port) == ("board.lan", 9090)
    status = world.status(key)
    assert (status["endpoint"], status["reason"]) == ("board.lan:50051", "NoReplicaReady")
    assert [each["service"] for each in status["routes"]] == ["board.lan:50051"]

    report(world, address.uid)
    world.settle(key)
    status = world.status(key)
    assert (status["reason"], status["ready"]) == ("", "1/1")
    assert status["runtime"]["device"] == "rk3588"
    assert status["embeddingSpace"] == SPACE
    assert status["files"] == {"revision": "commit-1", "digest": "d" * 64, "bytes": 9}


def report(world: World, uid: str, space: str = SPACE) -> None:
    page = {
        "phase": "serving",
        "runtime": {"name": "rknn", "device": "rk3588"},
        "embeddingSpace": space,
        "files": {"revision": "commit-1", "digest": "d" * 64, "bytes": 9},
        "tasks": ["clip_image_embed"],
    }
    world.reports[uid] = PodReport(uid, "server", page, world.now)


def test_an_external_server_that_no_longer_answers_is_not_ready(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    report(world, "external/photos/board")
    world.settle(key)
    world.later(31)
    world.settle(key)

    assert world.status(key)["reason"] == "NoReplicaReady"
    assert world.status(key)["tasks"] == ["clip_image_embed"]


def test_an_external_server_may_not_change_its_space_unasked(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    report(world, "external/photos/board")
    world.settle(key)
    report(world, "external/photos/board", OTHER_SPACE)
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == SPACE
    assert "allowReindex" in world.condition(key, C.READY)["message"]

    world.service("board", rollout={"allowReindex": True})
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE
    assert world.status(key)["reason"] == ""


def test_a_service_that_moves_outside_leaves_no_children(world):
    key = world.service()
    world.serve(key)
    world.service(pool=None, external="board.lan:50051")
    world.settle(key)

    left = [k for k in world.objects if k[0] not in {"pods", "replicasets", "nodes"}]
    assert {plural for plural, _, _ in left} == {SERVICES.plural, "lumennodepools"}


def test_the_first_look_at_a_moment_is_written_as_kubernetes_writes_it(world):
    key = world.service()
    world.settle(key)

    assert world.condition(key, C.READY)["lastTransitionTime"] == stamp(world.now)


# Clocks


def test_a_clock_that_is_set_makes_no_rollout_late_and_the_deadline_begins_anew(world):
    key = world.service()
    world.serve(key)
    failing(world, key, **BAD)
    world.later(600)
    world.set_clock(3600)
    world.settle(key)
    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")
    assert world.decide(key).again_in_s == 900

    world.later(901)
    world.settle(key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_a_clock_that_is_set_back_only_makes_patient(world):
    key = world.service()
    world.serve(key)
    failing(world, key, **BAD)
    world.set_clock(-3600)
    for _ in range(2):
        world.later(1800)
        world.settle(key)
        assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")

    world.later(901)
    world.settle(key)
    assert world.said(key, C.PROGRESSING) == ("True", "RolledBack")


def test_a_clock_that_is_set_makes_no_fetching_stand_still(world):
    key = world.service()
    world.settle(key)
    world.pod(key)
    world.set_pod("p1", initContainerStatuses=[running("resources", world.now)])
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)
    world.set_clock(3600)
    world.settle(key)
    assert world.status(key)["reason"] == "Fetching"

    world.later(121)
    world.settle(key)
    assert world.status(key)["reason"] == "Stalled"


def test_a_clock_that_is_set_does_not_make_the_old_pod_go_before_the_new_one(world):
    key = gpu_service(world, devices=2)
    world.service(server={"maxBatchSize": 8})
    world.settle(key)
    world.pod(key, "new")
    waits = [{**each, "lastTransitionTime": stamp(world.now)} for each in unschedulable(NO_GPU)]
    world.set_pod("new", node="", conditions=waits)
    world.set_clock(3600)
    world.settle(key)
    assert steps(world, key) == (1, 0)

    world.later(31)
    world.settle(key)
    assert steps(world, key) == (0, 1)


def test_a_clock_that_is_set_does_not_make_a_server_outside_the_cluster_unready(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    report(world, "external/photos/board")
    world.settle(key)
    world.set_clock(3600)
    world.settle(key)
    assert world.status(key)["reason"] == ""

    world.later(31)
    world.settle(key)
    assert world.status(key)["reason"] == "NoReplicaReady"
