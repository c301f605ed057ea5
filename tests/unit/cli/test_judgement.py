"""When a service counts as settled: judged from the objects that the operator's decisions leave."""

import pytest
from cluster_objects import a_model_service
from operator_scenes import SCENES, all_outcomes
from operator_world import World, ended_badly

from lumen_cli.status.judgement import Outlook, standing_of
from lumen_manifest.conditions import OUTCOMES, Reason
from lumen_manifest.conditions import ConditionType as C
from lumen_operator.observe.kinds import SERVICES

HOPELESS = {*OUTCOMES[C.ACCEPTED].otherwise, *(Reason(r) for r in ("RolledBack", "RolloutStalled"))}


@pytest.fixture
def world():
    made = World()
    made.pool()
    made.gpu_pool()
    made.node("n1")
    return made


def standing(world, key):
    return standing_of(world.get(SERVICES, key.namespace, key.name))


@pytest.mark.parametrize(("type_", "reason"), all_outcomes(), ids=str)
def test_every_reason_is_told_and_ends_the_wait_where_waiting_is_in_vain(world, type_, reason):
    key = SCENES[type_, reason](world)
    world.reconcile(key)
    found, ready = standing(world, key), world.condition(key, C.READY)

    if reason in HOPELESS | {Reason.SCALED_TO_ZERO}:
        told = world.condition(key, type_)
        assert (found.outlook, found.reason) == (Outlook.FAILED, reason)
        assert found.message == told["message"]
    elif ready["status"] != "True":
        assert found.outlook in {Outlook.GOING_ON, Outlook.FAILED}
        assert found.message
    if found.outlook is Outlook.READY:
        assert ready["status"] == "True"
        assert world.condition(key, C.PROGRESSING)["reason"] == "RolloutComplete"


def test_a_service_that_serves_its_manifest_is_ready_and_says_nothing(world):
    found = standing(world, world.served(replicas=2))

    assert (found.name, found.ready, found.reason, found.message, found.outlook) == (
        "clip",
        "2/2",
        "",
        "",
        Outlook.READY,
    )


def test_old_pods_that_answer_do_not_end_the_wait_for_new_ones(world):
    key = world.served()
    world.service(key.name, server={"maxBatchSize": 4})
    unread = standing(world, key)
    world.settle(key)
    rolling = standing(world, key)
    world.serve(key)

    assert (unread.outlook, rolling.outlook) == (Outlook.GOING_ON, Outlook.GOING_ON)
    assert "has not read" in unread.message
    assert "serve" in rolling.message
    assert world.said(key, C.READY) == ("True", "Ready")
    assert standing(world, key).outlook is Outlook.READY


def test_a_corrected_manifest_is_not_held_to_what_was_said_of_the_rejected_one(world):
    key = SCENES[C.PROGRESSING, Reason.ROLLED_BACK](world)
    world.reconcile(key)
    assert standing(world, key).outlook is Outlook.FAILED

    world.service(key.name, resources={"limits": {"memory": "2Gi"}})

    assert standing(world, key).outlook is Outlook.GOING_ON


def test_one_pod_of_two_is_ready_and_tells_what_holds_the_other(world):
    key = world.served(replicas=2)
    world.set_pod("clip-1", containerStatuses=[ended_badly("server", "boom")])
    world.settle(key)
    found = standing(world, key)

    assert (found.ready, found.reason) == ("1/2", "ServerCrashed")
    assert "boom" in found.message
    assert found.outlook is Outlook.READY


def test_what_a_condition_kept_from_an_earlier_spec_makes_nothing_ready(world):
    key = world.served()
    raw = world.get(SERVICES, key.namespace, key.name)
    for each in raw["status"]["conditions"]:
        if each["type"] == C.AVAILABLE:
            each["observedGeneration"] -= 1

    assert standing_of(raw).outlook is Outlook.GOING_ON


@pytest.mark.parametrize(
    "status", [None, "odd", {}, {"conditions": 3}, {"conditions": [{"type": "OfTomorrow"}]}]
)
def test_an_object_of_an_odd_shape_goes_on_and_says_what_to_do(status):
    found = standing_of(a_model_service(status=status))

    assert (found.name, found.outlook) == ("clip", Outlook.GOING_ON)
    assert found.message


def test_an_object_that_is_being_deleted_never_becomes_ready(world):
    raw = world.get(SERVICES, *(key := world.served()).namespace.split(), key.name)
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert standing_of(raw).outlook is Outlook.FAILED
