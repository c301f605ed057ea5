"""One failure has one name: whatever its pod goes through, its condition does not alternate."""

import pytest
from operator_scenes import with_init, with_pod, with_server
from operator_world import START, ended_badly, failure, running, waiting

from lumen_cluster.kinds import PODS
from lumen_manifest.conditions import ConditionType as C

PULL = 'failed to pull and unpack image "r/lumen:9": r/lumen:9: not found'
BACK_OFF = 'Back-off pulling image "r/lumen:9"'


def ended(name, message, restarts):
    run = {"exitCode": 1, "reason": "Error", "message": message}
    return {"name": name, "restartCount": restarts, "state": {"terminated": run}}


def again(name, message, restarts):
    return {**ended_badly(name, message, restarts=restarts), **running(name, START)}


def told(world, key, type_, states):
    """Return what a condition said at each of the states: status, reason, message, since when."""
    found = []
    for state in states:
        state()
        world.settle(key)
        each = world.condition(key, type_)
        found.append((each["status"], each["reason"], each["message"], each["lastTransitionTime"]))
        world.later(7)
    return found


@pytest.mark.parametrize(
    "off",
    [f"{BACK_OFF}: ErrImagePull: {PULL}", f"{BACK_OFF}: {PULL}", BACK_OFF],
    ids=["1.31 and later", "without the word", "before"],
)
def test_an_image_that_cannot_be_pulled_is_told_alike_while_it_is_tried_and_put_off(world, off):
    key = with_pod(world)

    def state(reason, message):
        return lambda: world.set_pod(
            "p1", initContainerStatuses=[waiting("resources", reason, message)]
        )

    states = [state("ErrImagePull", PULL), state("ImagePullBackOff", off)] * 3
    found = told(world, key, C.AVAILABLE, states)

    assert len(set(found)) == 1
    assert PULL in found[0][2]


@pytest.mark.parametrize(
    ("container", "type_", "reason"),
    [
        ("resources", C.RESOURCES_READY, "SourceUnreachable"),
        ("server", C.AVAILABLE, "ServerCrashed"),
    ],
)
def test_a_container_that_fails_again_and_again_is_told_alike(world, container, type_, reason):
    make = with_init if container == "resources" else with_server
    words = (
        failure("SourceUnreachable", "No route.", remedy="Look.") if type_ != C.AVAILABLE else ""
    )
    key = make(world, ended(container, words, 0))
    kind = "initContainerStatuses" if container == "resources" else "containerStatuses"

    def state(status):
        return lambda: world.set_pod("p1", **{kind: [status]})

    states = [
        state(each)
        for n in range(1, 5)
        for each in (
            ended(container, words, n - 1),
            ended_badly(container, words, restarts=n - 1),
            again(container, words, n),
        )
    ]
    found = told(world, key, type_, states)

    assert {(status, name, since) for status, name, _, since in found} == {
        ("False", reason, found[0][3])
    }


def test_a_source_that_answers_again_is_not_away_whenever_nothing_comes_for_a_moment(world):
    words = failure("SourceUnreachable", "No route.", remedy="Look.")
    key = with_init(world, again("resources", words, 1))

    def rate(bytes_per_s):
        page = {"phase": "Fetching", "bytesDone": 5, "rateBytesPerS": bytes_per_s}
        return lambda: world.report("p1", "resources", **page)

    found = told(world, key, C.RESOURCES_READY, [rate(n) for n in (0, 0, 1000, 0, 500, 0)])
    assert [each[1] for each in found] == ["SourceUnreachable"] * 2 + ["Fetching"] * 4


def test_a_pod_that_is_evicted_each_minute_is_told_alike(world):
    key = with_pod(world)
    full = 'Usage of EmptyDir volume "cache" exceeds the limit "8Gi". '

    def evicted():
        world.set_pod("p1", phase="Failed", reason="Evicted", message=full)

    def made_anew():
        world.a_pod(key, "p2", initContainerStatuses=[running("resources")])

    def evicted_too():
        world.set_pod("p2", phase="Failed", reason="Evicted", message=full)

    found = told(world, key, C.RESOURCES_READY, [evicted, made_anew, evicted_too, made_anew])
    assert {each[:2] for each in found} == {("False", "CacheEvicted")}
    assert len({each[3] for each in found}) == 1


def test_an_old_eviction_is_forgotten_once_a_later_pod_serves(world):
    key = world.served(replicas=2)
    world.set_pod("clip-0", phase="Failed", reason="Evicted", message="low on resource: memory")
    world.later(60)
    world.ready(key, "p3")
    world.settle(key)
    world.remove(PODS, "clip-1")
    world.later(60)
    world.a_pod(key, "p4", initContainerStatuses=[running("resources")])
    world.settle(key)

    assert world.said(key, C.AVAILABLE) == ("True", "MinimumReplicasAvailable")
