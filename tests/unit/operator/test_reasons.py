"""Every reason of every condition, reached from what a cluster would show."""

import pytest
from operator_scenes import SCENES, all_outcomes, with_init
from operator_world import NAMESPACE, SPACE, ended_badly, ended_well, stamp, verified

from lumen_cluster.kinds import DEPLOYMENTS, HPAS, PODS
from lumen_manifest.conditions import OUTCOMES, READY_NEEDS, Reason
from lumen_manifest.conditions import ConditionType as C
from lumen_operator.observe.kinds import SERVICES


@pytest.mark.parametrize(("type_", "reason"), all_outcomes(), ids=str)
def test_every_reason_is_reached_said_with_a_remedy_and_comes_to_rest(world, type_, reason):
    key = SCENES[type_, reason](world)
    world.reconcile(key)

    found = world.condition(key, type_)

    assert found["reason"] == reason
    if reason is Reason.READY or reason in OUTCOMES[type_].true:
        assert found["status"] == "True"
    else:
        assert found["status"] == ("Unknown" if reason is Reason.UNKNOWN else "False")
        assert "<" not in found["message"], "a fact that the remedy asks for is missing"
    assert found["message"].endswith((".", "?")) or "kubectl" in found["message"]
    if type_ in READY_NEEDS and found["status"] == "False":
        ready = world.condition(key, C.READY)
        assert (ready["status"], ready["message"]) == ("False", found["message"])
        assert world.status(key)["reason"] == ready["reason"] == reason
    world.settle(key)


def test_what_is_wrong_with_one_pod_does_not_unmake_a_service_that_answers(world):
    key = world.served(replicas=2)
    world.set_pod("clip-1", containerStatuses=[ended_badly("server", "boom")])
    world.settle(key)

    assert world.said(key, C.READY) == ("True", "Ready")
    assert world.status(key)["ready"] == "1/2"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"pool": "tpu"}, "UnknownPool"),
        ({"scenes": {"preset": "oct2025", "prompts": ["a", "b"]}}, "InvalidSpec"),
    ],
)
def test_what_runs_is_counted_while_the_spec_cannot_be_carried_out(world, broken, reason):
    key = world.served(replicas=2)
    world.service(**broken)
    decision = world.reconcile(key)

    status = world.status(key)
    assert (decision.apply, decision.delete) == ((), ())
    assert (status["reason"], status["ready"]) == (reason, "2/2")
    assert [each["service"] for each in status["routes"]] == ["clip-stable"]
    for left, (ready, available) in {1: ("1/2", "True"), 0: ("0/2", "False")}.items():
        world.remove(PODS, f"clip-{left}")
        world.settle(key)
        assert world.status(key)["ready"] == ready
        assert world.said(key, C.AVAILABLE)[0] == available


def test_a_broken_spec_leaves_children_and_routes_as_they_are(world):
    key = world.served()
    before = world.status(key)["routes"]
    world.service(scenes={"preset": "oct2025", "prompts": ["a", "b"]})
    decision = world.reconcile(key)

    assert (decision.apply, decision.delete) == ((), ())
    assert world.status(key)["routes"] == before
    assert "give a preset or prompts, not both" in world.condition(key, C.READY)["message"]
    world.settle(key)


def test_what_could_not_be_judged_anew_keeps_the_generation_it_is_about(world):
    key = world.served()
    world.change(key, scenes={"preset": "oct2025", "prompts": ["a", "b"]})

    about = {c["type"]: c["observedGeneration"] for c in world.status(key)["conditions"]}
    assert about == {
        "Accepted": 2,
        "ResourcesReady": 1,
        "DeviceReady": 1,
        "Available": 2,
        "Progressing": 1,
        "Ready": 2,
    }


def test_a_pod_that_only_carries_the_label_is_not_ours(world):
    key = world.served()
    labels = {"lumen.dev/service": "clip"}
    metadata = {"name": "debug", "namespace": NAMESPACE, "labels": labels}
    world.put(PODS, {"metadata": metadata, "status": {"phase": "Running"}})
    world.settle(key)

    assert world.status(key)["replicas"] == 1
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")


def test_a_younger_default_is_deployed_all_the_same(world):
    key = SCENES[C.ACCEPTED, Reason.DEFAULT_CONFLICT](world)
    world.serve(key)

    assert world.names(DEPLOYMENTS) == {"clip-stable"}
    assert world.status(key)["reason"] == "DefaultConflict"
    assert "older" in world.condition(key, C.ACCEPTED)["message"]


def test_a_service_that_asks_for_anothers_name_is_deployed_and_told(world):
    key = SCENES[C.ACCEPTED, Reason.NAME_CONFLICT](world)
    world.serve(key)

    assert world.status(key)["reason"] == "NameConflict"
    assert world.condition(key, C.ACCEPTED)["message"].startswith(
        "Callers who say fast reach older, which has it as an alias and came first. Take fast out"
    )


def test_a_name_that_falls_to_another_service_is_an_event(world):
    key = SCENES[C.ACCEPTED, Reason.NAME_CONFLICT](world)
    world.serve(key)
    world.remove(SERVICES, "older")
    notes = {event.reason: event.message for event in world.decide(key).events}

    assert notes.keys() == {"Accepted", "Ready"}
    assert notes["Accepted"].endswith("Callers reach it as clip, fast.")


def test_a_family_that_goes_to_another_service_is_an_event_of_the_one_that_had_it(world):
    key = world.served("first")
    assert world.condition(key, C.ACCEPTED)["message"].endswith("reach it as first, clip.")
    world.later(1)
    world.service("second", default=True)
    (event,) = world.decide(key).events

    assert (event.type, event.reason) == ("Normal", "Accepted")
    assert event.message.endswith("Callers reach it as first.")


def test_an_autoscaler_that_has_not_looked_is_not_yet_known(world):
    key = world.settled(autoscaling={"maxReplicas": 3})

    assert world.said(key, C.AUTOSCALING) == ("Unknown", "MetricsUnavailable")
    assert world.names(HPAS) == {"clip-lumen"}


def test_the_space_of_verified_files_is_known_before_anything_serves(world):
    key = with_init(world, ended_well("resources", verified()))
    world.settle(key)

    assert world.status(key)["embeddingSpace"] == SPACE


def test_the_first_look_at_a_moment_is_written_as_kubernetes_writes_it(world):
    key = world.settled()

    assert world.condition(key, C.READY)["lastTransitionTime"] == stamp(world.now)
