"""What holds a pod: its own words, how it ended, or who has its place, and what to do."""

import pytest
from operator_scenes import SCENES, waiting_for_node, with_init, with_pod, with_server
from operator_world import ended_badly, failure, running, waiting

from lumen_manifest.conditions import ConditionType as C
from lumen_manifest.conditions import Reason


def test_a_server_that_knows_no_better_word_has_crashed(world):
    words = failure("Unknown", "The port is taken.", remedy="Free it.")
    key = with_server(world, ended_badly("server", words))
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)
    assert (found["reason"], found["message"]) == ("ServerCrashed", "The port is taken. Free it.")


def test_words_of_ours_that_belong_to_accepted_are_told_there(world):
    words = failure("InvalidSpec", "LUMEN_GRACE_S is no number.", remedy="Correct it.")
    key = with_server(world, ended_badly("server", words))
    world.settle(key)

    assert world.said(key, C.ACCEPTED) == ("False", "InvalidSpec")
    assert world.status(key)["reason"] == "InvalidSpec"


@pytest.mark.parametrize("word", ["Ready", "Verified", "RolledBack", "MetricsUnavailable"])
def test_words_that_are_no_failure_of_a_pod_are_not_taken_for_one(world, word):
    key = with_server(world, ended_badly("server", failure(word)))
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_an_init_container_without_last_words_is_quoted_with_its_log(world):
    key = with_init(world, ended_badly("resources", "Traceback\nKeyError: 'x'"))
    world.settle(key)

    found = world.condition(key, C.RESOURCES_READY)
    assert (found["status"], found["reason"]) == ("False", "InitCrashed")
    assert "Its last line: KeyError: 'x'" in found["message"]
    assert "kubectl logs -n photos p1 -c resources --previous" in found["message"]


def test_a_runtime_that_refuses_an_old_driver_is_a_driver_mismatch(world):
    message = (
        "failed to create containerd task: nvidia-container-cli: requirement error: "
        "unsatisfied condition: cuda>=12.4, please update your driver to a newer version"
    )
    key = with_server(world, waiting("server", "RunContainerError", message), pool="cuda")
    world.settle(key)

    found = world.condition(key, C.DEVICE_READY)
    assert found["reason"] == "DriverMismatch"
    assert "Update the driver on n1" in found["message"]


def test_a_container_that_cannot_start_is_no_driver_s_fault_on_a_cpu(world):
    message = "exec: python3: not found (driver overlay)"
    key = with_server(world, waiting("server", "RunContainerError", message))
    world.settle(key)

    assert world.status(key)["reason"] == "StartFailed"
    assert "exec: python3: not found" in world.condition(key, C.AVAILABLE)["message"]


def test_a_failure_stands_while_the_next_attempt_has_not_got_further(world):
    again = {**ended_badly("resources", failure("SourceUnreachable")), **running("resources")}
    key = with_init(world, again)
    world.settle(key)
    assert world.status(key)["reason"] == "SourceUnreachable"

    world.report("p1", "resources", phase="Fetching", bytesDone=5, rateBytesPerS=1000)
    world.settle(key)
    assert world.status(key)["reason"] == "Fetching"


def test_a_server_that_ends_well_again_and_again_has_crashed_too(world):
    key = with_server(world, ended_badly("server", "bye", code=0, restarts=4))
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_a_crash_stands_while_the_server_loads_again(world):
    again = {**ended_badly("server", "boom"), **running("server")}
    key = with_server(world, again)
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_an_eviction_for_the_node_s_sake_is_not_the_cache_s(world):
    key = with_pod(world)
    message = "The node was low on resource: memory. Threshold quantity: 100Mi."
    world.set_pod("p1", phase="Failed", reason="Evicted", message=message)
    world.settle(key)

    assert world.said(key, C.RESOURCES_READY) == ("Unknown", "Unknown")
    assert world.said(key, C.AVAILABLE) == ("False", "PodEvicted")
    assert "requests.memory" in world.condition(key, C.AVAILABLE)["message"]


def test_a_device_that_a_node_lost_is_waited_for(world):
    world.node("g1", devices=1)
    key = with_pod(world, pool="cuda")
    message = "Allocate failed due to no healthy devices present; cannot allocate"
    world.set_pod("p1", phase="Failed", reason="UnexpectedAdmissionError", message=message)
    world.settle(key)

    assert world.said(key, C.DEVICE_READY) == ("False", "WaitingForDevice")
    assert "no healthy devices" in world.condition(key, C.DEVICE_READY)["message"]


def test_a_device_other_than_the_pool_s_is_a_mismatch_even_of_a_ready_pod(world):
    world.node("g1", devices=1)
    key = world.served(pool="cuda")
    world.report("clip-0", "server", phase="serving", runtime={"name": "onnx", "device": "cpu"})
    world.settle(key)

    assert world.said(key, C.DEVICE_READY) == ("False", "DeviceMismatch")
    assert world.status(key)["reason"] == "DeviceMismatch"


def test_holders_of_the_devices_are_named_with_the_way_to_share(world):
    key = SCENES[C.DEVICE_READY, Reason.WAITING_FOR_DEVICE](world)
    world.settle(key)

    message = world.condition(key, C.DEVICE_READY)["message"]
    assert "held by photos/bioclip (1)" in message
    assert "timeSlicing" in message


def test_a_device_plugin_that_offers_nothing_is_told_apart_from_full_cards(world):
    world.node("g1", labels={"gpu": "yes"})
    key = waiting_for_node(
        world, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", pool="cuda"
    )
    world.settle(key)

    assert world.said(key, C.DEVICE_READY) == ("False", "WaitingForDevice")
    assert "Install the device plugin" in world.condition(key, C.DEVICE_READY)["message"]


def test_a_full_node_is_told_in_the_scheduler_s_words(world):
    key = waiting_for_node(world, "0/1 nodes are available: 1 Insufficient memory.")
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)
    assert found["reason"] == "Unschedulable"
    assert "1 Insufficient memory. Lower spec.resources.requests" in found["message"]


def test_a_claim_that_is_pending_is_named(world):
    world.claim("models", "Pending")
    key = waiting_for_node(
        world,
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    )
    world.settle(key)

    found = world.condition(key, C.RESOURCES_READY)
    assert found["reason"] == "VolumeNotBound"
    assert "claim models, which is Pending" in found["message"]


def test_a_bound_claim_is_not_blamed_for_a_full_node(world):
    world.claim("models", "Bound")
    key = waiting_for_node(
        world,
        "0/1 nodes are available: 1 Insufficient cpu.",
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    )
    world.settle(key)

    assert world.status(key)["reason"] == "Unschedulable"


def test_pods_kept_out_by_pod_security_point_to_the_namespace_s_level(world):
    key = SCENES[C.AVAILABLE, Reason.PODS_FORBIDDEN](world)
    said = 'violates PodSecurity "restricted:latest": procMount'
    failed = {"type": "ReplicaFailure", "status": "True", "message": said}
    world.replica_set(key, status={"conditions": [failed]})
    world.settle(key)

    message = world.condition(key, C.AVAILABLE)["message"]
    assert message.startswith(said)
    assert "pod-security.kubernetes.io/enforce" in message
