"""Pods that their node cannot set up: when their events are asked for, and what is told of them."""

import pytest
from operator_scenes import with_pod
from operator_world import stamp, waiting
from reconciled import World as Reconciled

from lumen_cluster.errors import Forbidden
from lumen_manifest.conditions import ConditionType as C
from lumen_operator.decide import pods_to_ask_about
from lumen_operator.observe.views import PodView
from lumen_operator.polling.pod_events import PodEvents, newest_trouble

POD = PodView(name="p1", uid="u1", namespace="photos")


def event(reason, note, at, **more):
    return {"reason": reason, "note": note, "deprecatedLastTimestamp": at, **more}


def creating(world):
    key = with_pod(world)
    world.set_pod(
        "p1",
        initContainerStatuses=[waiting("resources", "PodInitializing")],
        containerStatuses=[waiting("server", "ContainerCreating")],
        conditions=[
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(world.now)}
        ],
    )
    world.settle(key)
    return key


def test_a_pod_is_asked_about_once_it_should_have_been_set_up(world):
    key = creating(world)
    assert list(pods_to_ask_about(world.observe(key))) == []
    assert world.decide(key).requeue_after_s == 10

    world.later(10)
    assert [pod.name for pod in pods_to_ask_about(world.observe(key))] == ["p1"]
    assert world.decide(key).requeue_after_s == 15


def test_a_pod_whose_container_began_is_not(world):
    key = creating(world)
    run = {"running": {"startedAt": stamp(world.now)}}
    world.set_pod("p1", initContainerStatuses=[{"name": "resources", "state": run}])
    world.later(60)

    assert list(pods_to_ask_about(world.observe(key))) == []


def test_what_the_node_says_is_the_reason_and_names_the_way_out(world):
    key = creating(world)
    uid = world.objects["pods", "photos", "p1"]["metadata"]["uid"]
    world.pod_words[uid] = 'FailedCreatePodSandBox: no runtime for "nvidia" is configured'
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)
    assert found["reason"] == "StartFailed"
    assert "Node n1 cannot set up pod p1: FailedCreatePodSandBox: no runtime" in found["message"]
    assert "Install the runtime that the message names on node n1" in found["message"]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], ""),
        ([event("Pulled", "fine", "2026-01-01T00:00:09Z")], ""),
        (
            [
                event("FailedMount", 'secret "keys" not found', "2026-01-01T00:00:01Z"),
                event("FailedMount", "timed out waiting for the condition", "2026-01-01T00:00:09Z"),
            ],
            'FailedMount: secret "keys" not found',
        ),
        ([event("FailedMount", "timed out waiting", "")], "FailedMount: timed out waiting"),
        (
            [
                event("FailedMount", "old", "2026-01-01T00:00:01Z"),
                event(
                    "FailedCreatePodSandBox",
                    "cni",
                    "",
                    series={"lastObservedTime": "2026-01-01T00:00:05Z"},
                ),
            ],
            "FailedCreatePodSandBox: cni",
        ),
        ([{"reason": 7, "note": []}, {}], ""),
    ],
)
def test_the_newest_event_that_tells_what_is_missing_is_taken(events, told):
    assert newest_trouble(events) == told


class Server:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def ask(self, request):
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_the_events_of_the_pod_alone_are_asked_for():
    server = Server({"items": [event("FailedMount", "no", "2026-01-01T00:00:01Z")]})

    assert await PodEvents(server).words_of([POD]) == {"u1": "FailedMount: no"}
    (request,) = server.asked
    assert request.path == "/apis/events.k8s.io/v1/namespaces/photos/events"
    assert request.query["fieldSelector"] == "regarding.uid=u1"


async def test_a_right_that_is_missing_holds_nothing_up():
    server = Server(Forbidden("no", status=403))

    assert await PodEvents(server).words_of([POD, POD]) == {}
    assert len(server.asked) == 1


async def test_a_service_without_such_pods_costs_no_question():
    world = Reconciled()
    world.has_pool()
    world.has_service()
    await world.reconcile()

    assert not [r for r in world.server.made if r.method == "GET" and "/events" in r.path]
