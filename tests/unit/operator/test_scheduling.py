"""Pods that find no place: who holds it, and what to do."""

from operator_scenes import SCENES, waiting_for_node

from lumen_manifest.conditions import ConditionType as C
from lumen_manifest.conditions import Reason


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
    assert found["reason"] == "NoReplicaReady"
    assert "1 Insufficient memory." in found["message"]


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

    assert world.status(key)["reason"] == "NoReplicaReady"


def test_pods_kept_out_by_pod_security_point_to_the_namespace_s_level(world):
    key = SCENES[C.AVAILABLE, Reason.PODS_FORBIDDEN](world)
    said = 'violates PodSecurity "restricted:latest": procMount'
    failed = {"type": "ReplicaFailure", "status": "True", "message": said}
    world.replica_set(key, status={"conditions": [failed]})
    world.settle(key)

    message = world.condition(key, C.AVAILABLE)["message"]
    assert message.startswith(said)
    assert "pod-security.kubernetes.io/enforce" in message
