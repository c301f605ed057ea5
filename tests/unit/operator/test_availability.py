"""How many pods serve of how many, what holds the others, and what nobody calls a lack."""

import pytest
from operator_scenes import waiting_for_node, with_init, with_pod, with_server
from operator_world import (
    ended_badly,
    ended_well,
    failure,
    running,
    unschedulable,
    verified,
    waiting,
)

from lumen_cluster.kinds import PODS
from lumen_manifest.conditions import ConditionType as C
from lumen_manifest.conditions import Reason

QUOTA = {
    "type": "ReplicaFailure",
    "status": "True",
    "message": 'pods "clip-x" is forbidden: exceeded quota: one, requested: pods=1',
}
STARTING = {"containerStatuses": [running("server")]}


def two_served(world):
    return world.served(replicas=2)


def statuses():
    verified_files = [ended_well("resources", verified())]
    return {
        Reason.SERVER_CRASHED: {"containerStatuses": [ended_badly("server", "boom")]},
        Reason.OUT_OF_MEMORY: {
            "initContainerStatuses": [ended_badly("resources", code=137, reason="OOMKilled")]
        },
        Reason.IMAGE_PULL_FAILED: {
            "initContainerStatuses": verified_files,
            "containerStatuses": [waiting("server", "ImagePullBackOff", "denied")],
        },
        Reason.UNSCHEDULABLE: {"conditions": unschedulable("0/1 nodes: 1 Insufficient cpu.")},
        Reason.CHECKSUM_MISMATCH: {
            "initContainerStatuses": [ended_badly("resources", failure("ChecksumMismatch"))]
        },
        Reason.POD_EVICTED: {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
        },
    }


@pytest.mark.parametrize("reason", statuses(), ids=str)
def test_whatever_holds_one_pod_of_two_is_told_while_the_other_serves(world, reason):
    key = two_served(world)
    world.set_pod("clip-1", **statuses()[reason])
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)
    assert (found["status"], found["reason"]) == ("True", "Degraded")
    assert found["message"].startswith(f"1 of 2 pods serves. {reason}: ")
    assert world.said(key, C.READY) == ("True", "Ready")
    assert world.status(key)["reason"] == reason


def test_a_quota_that_keeps_pods_out_is_told_though_those_that_are_in_serve(world):
    key = world.served(replicas=3)
    for name in ("clip-1", "clip-2"):
        world.remove(PODS, name)
    world.replica_set(key, status={"conditions": [QUOTA]})
    world.settle(key)

    assert world.status(key)["reason"] == "PodsForbidden"
    assert "exceeded quota" in world.condition(key, C.AVAILABLE)["message"]
    assert "1 of 3 are there" in world.condition(key, C.PROGRESSING)["message"]


@pytest.mark.parametrize(
    "status",
    [STARTING, {"initContainerStatuses": [running("resources")]}, {"phase": "Pending"}],
    ids=["loads", "fetches", "is placed"],
)
def test_pods_that_merely_start_are_not_a_lack(world, status):
    key = two_served(world)
    world.set_pod("clip-1", **status)
    world.settle(key)

    assert world.said(key, C.AVAILABLE) == ("True", "MinimumReplicasAvailable")
    assert world.condition(key, C.AVAILABLE)["message"] == "1 of 2 pods serves."
    assert world.status(key)["reason"] == ""


def test_a_surge_pod_that_fails_takes_nothing_from_what_was_asked_for(world):
    key = two_served(world)
    world.change(key, resources={"limits": {"memory": "1Mi"}})
    world.a_pod(key, "p3", containerStatuses=[ended_badly("server", code=137, reason="OOMKilled")])
    world.settle(key)

    assert world.said(key, C.AVAILABLE) == ("True", "MinimumReplicasAvailable")
    assert world.said(key, C.PROGRESSING) == ("True", "RollingOut")
    assert "more memory" in world.condition(key, C.PROGRESSING)["message"]


def test_an_old_pod_that_crashes_while_the_new_one_starts_is_told(world):
    key = two_served(world)
    world.change(key, server={"maxBatchSize": 7})
    world.a_pod(key, "p3", **STARTING)
    world.set_pod("clip-1", containerStatuses=[ended_badly("server", "boom")])
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_a_rejected_rollout_shows_where_all_else_is_well(world):
    key = world.served()
    world.change(key, resources={"limits": {"memory": "1Mi"}})
    world.a_pod(key, "p2", containerStatuses=[ended_badly("server", code=137, reason="OOMKilled")])
    world.later(901, key)

    assert world.said(key, C.READY) == ("True", "Ready")
    assert world.status(key)["reason"] == "RolledBack"
    message = world.condition(key, C.PROGRESSING)["message"]
    assert "Raise spec.resources.limits.memory" in message
    assert "progressDeadlineSeconds" not in message


@pytest.mark.parametrize("reason", ["RepositoryNotFound", "ChecksumMismatch", "Unauthorized"])
def test_what_more_time_cannot_help_is_not_told_to_wait_longer(world, reason):
    words = failure(reason, "No.", remedy="Put it right.")
    key = with_init(world, ended_badly("resources", words, restarts=3))
    world.settle(key)

    message = world.condition(key, C.PROGRESSING)["message"]
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutStalled")
    assert message.endswith("Put it right.")


def test_what_is_merely_slow_is(world):
    key = with_server(world, running("server"))
    world.later(901, key)

    assert "progressDeadlineSeconds" in world.condition(key, C.PROGRESSING)["message"]


def test_a_pod_that_cannot_end_on_a_lost_node_is_named(world):
    key = world.served(replicas=2)
    world.set_pod("clip-1", phase="Running")
    world.objects["pods", "photos", "clip-1"]["metadata"]["deletionTimestamp"] = "2026-01-01"
    world.node("n1", trouble="Kubelet stopped posting node status.")
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)["message"]
    assert "clip-1 cannot end: its node n1 is not ready: Kubelet stopped" in found
    assert world.status(key)["reason"] == "NodeNotReady"


def test_a_node_that_is_gone_is_named(world):
    key = with_server(world, running("server"))
    world.objects.pop(("nodes", "", "n1"))
    world.settle(key)

    assert "its node n1 is gone" in world.condition(key, C.AVAILABLE)["message"]


def test_a_crash_that_was_the_nodes_is_not_the_servers(world):
    down = ended_badly("server", code=137, reason="ContainerStatusUnknown")
    key = with_server(world, {**down, **running("server")})
    world.settle(key)

    assert world.status(key)["reason"] == "NoReplicaReady"


def test_a_sidecar_that_runs_does_not_hide_what_comes_after_it(world):
    sidecar = {**running("istio-proxy"), "ready": True}
    key = with_init(world, sidecar, ended_badly("resources", failure("ChecksumMismatch")))
    world.settle(key)

    assert world.status(key)["reason"] == "ChecksumMismatch"


@pytest.mark.parametrize("spec", [{"pool": "tpu"}, {"scenes": {"preset": "x", "prompts": ["a"]}}])
def test_nobody_is_told_to_wait_for_a_pod_that_is_never_made(world, spec):
    key = world.service(**spec)
    world.settle(key)

    for type_ in (C.RESOURCES_READY, C.DEVICE_READY, C.AVAILABLE):
        assert world.condition(key, type_)["message"].startswith("There is no pod, and Accepted")


def test_an_init_container_without_a_limit_is_told_to_get_one(world):
    key = with_init(world, ended_badly("resources", code=137, reason="OOMKilled"))
    world.settle(key)

    message = world.condition(key, C.AVAILABLE)["message"]
    assert "Container resources of pod p1" in message
    assert "maxBatchSize" not in message


def test_access_that_is_refused_points_to_the_secret_first(world):
    words = failure("Unauthorized", "The hub wants a token.", remedy="Put one in.")
    source = {"source": {"secretRef": {"name": "hub-token"}}}
    key = with_init(world, ended_badly("resources", words), model=source)
    world.settle(key)

    message = world.condition(key, C.RESOURCES_READY)["message"]
    assert "The hub wants a token. See that the Secret hub-token has the key" in message


def test_the_attempts_of_a_fetch_are_told(world):
    again = {
        **ended_badly("resources", failure("SourceUnreachable", "No route.")),
        **running("resources"),
    }
    key = with_init(world, again)
    page = {"phase": "Fetching", "bytesDone": 5, "rateBytesPerS": 1000}
    world.report("p1", "resources", **page, failures=2, lastError="The hub answers 503.")
    world.settle(key)

    assert world.condition(key, C.RESOURCES_READY)["message"].startswith(
        "The model's files are being fetched: attempt 4, last: The hub answers 503."
    )


def test_a_pod_that_a_gate_holds_is_told_in_the_schedulers_words(world):
    key = with_pod(world)
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    said = {**gated, "message": "Scheduling is blocked due to non-empty scheduling gates"}
    world.set_pod("p1", node="", conditions=[said])
    world.settle(key)

    assert "non-empty scheduling gates" in world.condition(key, C.AVAILABLE)["message"]


def test_a_full_pool_is_told_with_its_name(world):
    key = waiting_for_node(world, "0/1 nodes are available: 1 Insufficient memory.")
    world.settle(key)

    assert "pool cpu" in world.condition(key, C.AVAILABLE)["message"]
