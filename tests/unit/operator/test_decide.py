"""From a manifest to its children and its status: what is decided, and that it comes to rest."""

import pytest
from operator_world import DIGEST, NAMESPACE, SPACE, World

from lumen_cluster.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HEADLESS,
    HPAS,
    NETWORK_POLICIES,
    PDBS,
    REVISIONS,
)
from lumen_manifest.conditions import ConditionType as C
from lumen_operator.decide import Decision


@pytest.fixture
def world() -> World:
    made = World()
    made.pool()
    made.node("n1")
    return made


def test_a_new_service_gets_every_child_in_the_order_in_which_pods_need_them(world):
    decision = world.decide(world.service())

    assert [each["kind"] for each in decision.apply] == [
        "ControllerRevision",
        "ConfigMap",
        "NetworkPolicy",
        "Service",
        "PodDisruptionBudget",
        "Deployment",
    ]
    assert decision.delete == ()


def test_what_is_carried_out_is_not_decided_again(world):
    key = world.service(autoscaling={"maxReplicas": 3}, labelSets=[{"name": "a"}])
    world.reconcile(key)

    assert world.decide(key) == Decision()


def test_a_served_service_is_ready_and_comes_to_rest(world):
    key = world.served(replicas=2)

    assert {c["type"]: (c["status"], c["reason"]) for c in world.status(key)["conditions"]} == {
        "Accepted": ("True", "Accepted"),
        "ResourcesReady": ("True", "Verified"),
        "DeviceReady": ("True", "DeviceAttested"),
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("False", "RolloutComplete"),
        "Ready": ("True", "Ready"),
    }
    decision = world.decide(key)
    assert (decision.apply, decision.delete, decision.status) == ((), (), None)


def test_status_says_what_callers_and_scalers_need(world):
    key = world.served(replicas=2)
    for pod in ("clip-0", "clip-1"):
        world.report(
            pod,
            "server",
            phase="serving",
            tasks=["clip_image_embed"],
            modelId="MobileCLIP2-S2",
            embeddingDim=512,
            embeddingSpace=SPACE,
            runtime={"name": "onnx", "version": "1.22", "device": "cpu", "precision": "fp32"},
        )
    world.settle(key)

    status = world.status(key)
    status.pop("conditions")
    revision = status.pop("stableRevision")
    assert revision in world.names(REVISIONS)
    assert status == {
        "observedGeneration": 1,
        "replicas": 2,
        "readyReplicas": 2,
        "ready": "2/2",
        "reason": "",
        "selector": "lumen.dev/service=clip",
        "endpoint": f"clip-stable.{NAMESPACE}.svc:50051",
        "tasks": ["clip_image_embed"],
        "modelId": "MobileCLIP2-S2",
        "embeddingDim": 512,
        "embeddingSpace": SPACE,
        "runtime": {"name": "onnx", "version": "1.22", "device": "cpu", "precision": "fp32"},
        "files": {"revision": "commit-1", "digest": DIGEST, "bytes": 9_500_000},
        "routes": [
            {
                "variant": "stable",
                "service": "clip-stable",
                "weight": 100,
                "tasks": ["clip_image_embed"],
                "embeddingSpace": SPACE,
            }
        ],
        "rejectedRevision": "",
    }


def test_the_terms_that_a_repository_names_are_part_of_the_status(world):
    key = world.settled()
    world.ready(key, "clip-0", license="apple-amlr")
    world.settle(key)

    assert world.status(key)["files"]["license"] == "apple-amlr"


def test_a_child_that_is_gone_or_changed_is_repaired(world):
    key = world.served()
    world.remove(PDBS, "clip-lumen")
    world.deployment(key)["spec"]["replicas"] = 7

    assert [each["kind"] for each in world.decide(key).apply] == [
        "PodDisruptionBudget",
        "Deployment",
    ]


def test_scaling_changes_the_deployment_and_makes_no_revision(world):
    key = world.served()
    world.service(replicas=4)

    decision = world.decide(key)

    assert [each["kind"] for each in decision.apply] == ["Deployment"]
    assert decision.apply[0]["spec"]["replicas"] == 4


def test_events_are_posted_for_transitions_only_and_what_went_well_is_one(world):
    key = world.service()

    first = world.reconcile(key)
    assert [str(each.reason) for each in first.events] == ["Accepted"]
    assert world.reconcile(key).events == ()
    world.ready(key, "p1")
    assert [str(each.reason) for each in world.reconcile(key).events] == ["Ready"]
    assert world.reconcile(key).events == ()


def test_what_goes_wrong_has_an_event_of_its_own(world):
    key = world.service(pool="no-such-pool")

    assert [(each.type, str(each.reason)) for each in world.reconcile(key).events] == [
        ("Warning", "UnknownPool")
    ]


def test_a_condition_keeps_its_time_while_its_status_stays(world):
    key = world.service()
    world.reconcile(key)
    before = world.condition(key, C.READY)["lastTransitionTime"]
    world.later(60)
    world.service(replicas=2)
    world.reconcile(key)

    assert world.condition(key, C.READY)["lastTransitionTime"] == before
    assert world.condition(key, C.READY)["observedGeneration"] == 2


def test_an_autoscaler_no_longer_asked_for_is_deleted(world):
    key = world.settled(autoscaling={"maxReplicas": 3})
    world.change(key, autoscaling=None)

    assert world.names(HPAS) == set()


def test_another_service_s_objects_and_a_user_s_own_are_never_deleted(world):
    key = world.served()
    mine = {"lumen.dev/service": "clip"}
    for kind in (CONFIG_MAPS, HPAS, DEPLOYMENTS, HEADLESS, NETWORK_POLICIES):
        metadata = {"name": "of-the-user", "namespace": NAMESPACE, "labels": mine}
        world.put(kind, {"metadata": metadata})

    assert world.decide(key).delete == ()
