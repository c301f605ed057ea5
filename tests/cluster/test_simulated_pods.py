"""What kwok plays is what a kubelet would report, so that tests may build on it.

That devices, taints and selectors are the real scheduler's business, the operator's tests prove:
test_operator_conditions.py.
"""

import json

import pytest
from controlplane.cluster import Cluster, unique_name
from controlplane.nodes import BEHAVIOUR, CONTAINER, TERMINATION_MESSAGE, Behaviour
from controlplane.programs import wait_until

MESSAGE = '{"reason": "Unauthorized", "message": "the hub says \\"no\\""}'
WAITS, DONE = "PodInitializing", "Completed"
LIVES = {
    "ready": (Behaviour.READY, None, "Running", (DONE, DONE, "running")),
    "slow": (Behaviour.SLOW, None, "Pending", ("running", WAITS, WAITS)),
    "init-fails": (Behaviour.INIT_FAILS, None, "Pending", ("CrashLoopBackOff", WAITS, WAITS)),
    "later": (Behaviour.INIT_FAILS, "prepare", "Pending", (DONE, "CrashLoopBackOff", WAITS)),
    "crashes": (Behaviour.CRASH_LOOP, None, "Running", (DONE, DONE, "CrashLoopBackOff")),
    "oom": (Behaviour.OOM, None, "Running", (DONE, DONE, "CrashLoopBackOff")),
    "no-image": (Behaviour.IMAGE_PULL, "resources", "Pending", ("ImagePullBackOff", WAITS, WAITS)),
    "no-server": (Behaviour.IMAGE_PULL, "server", "Pending", (DONE, DONE, "ImagePullBackOff")),
    "unready": (Behaviour.NEVER_READY, None, "Running", (DONE, DONE, "running")),
}
"""By name: a behaviour, whom it befalls, the pod's phase, and where its containers come."""
ENDS = {
    Behaviour.INIT_FAILS: ("Error", 1, MESSAGE),
    Behaviour.CRASH_LOOP: ("Error", 1, MESSAGE),
    Behaviour.OOM: ("OOMKilled", 137, ""),
}


@pytest.mark.parametrize("life", LIVES)
def test_containers_come_to_where_a_kubelet_would_bring_them(control_plane, namespace, life):
    behaviour, container, phase, wanted = LIVES[life]
    pod = created(control_plane, namespace, a_pod(behaviour, container))

    def comes_there(found: dict) -> bool:
        return words(found) == wanted and found["status"]["phase"] == phase

    found = once(control_plane, namespace, pod, comes_there)
    assert is_ready(found) == (life == "ready")
    assert found["status"]["podIP"].startswith(("198.18.", "198.19."))
    assert [each.get("started") for each in statuses(found)] == [False, False, life == "ready"]
    if behaviour in ENDS:
        (befallen,) = (each for each in statuses(found) if each.get("lastState"))
        ended = befallen["lastState"]["terminated"]
        said = (ended["reason"], ended["exitCode"], ended.get("message", ""))
        assert said == ENDS[behaviour]
    if life == "ready":
        messages = [each["state"]["terminated"].get("message") for each in statuses(found)[:2]]
        assert messages == [MESSAGE, None]


@pytest.mark.parametrize("inits", [True, False], ids=["with-inits", "without"])
def test_a_failing_pod_that_is_healed_gets_ready_and_keeps_its_restarts(
    control_plane, namespace, inits
):
    wanted = a_pod(Behaviour.INIT_FAILS if inits else Behaviour.CRASH_LOOP)
    if not inits:
        del wanted["spec"]["initContainers"]
    pod = created(control_plane, namespace, wanted)

    def failed_again(found: dict) -> bool:
        return restarts(found) >= 1 and "CrashLoopBackOff" in words(found)

    once(control_plane, namespace, pod, failed_again)
    control_plane.set_behaviour(namespace, pod, Behaviour.READY)

    assert restarts(once(control_plane, namespace, pod, is_ready)) >= 1


def test_an_evicted_pod_has_failed_and_says_why(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod(Behaviour.EVICTED))

    def has_failed(found: dict) -> bool:
        return found["status"]["phase"] == "Failed"

    status = once(control_plane, namespace, pod, has_failed)["status"]
    assert (status["reason"], status["message"]) == ("Evicted", MESSAGE)


def a_pod(behaviour: Behaviour, container: str | None = None) -> dict:
    said = {BEHAVIOUR: behaviour, TERMINATION_MESSAGE: MESSAGE, CONTAINER: container}
    annotations = {name: value for name, value in said.items() if value is not None}
    inits = [{"name": name, "image": "server:1"} for name in ("resources", "prepare")]
    return {
        "metadata": {"name": unique_name("pod"), "annotations": annotations},
        "spec": {
            "initContainers": inits,
            "containers": [{"name": "server", "image": "server:1"}],
        },
    }


def created(cluster: Cluster, namespace: str, document: dict) -> str:
    cluster.create(f"/api/v1/namespaces/{namespace}/pods", document)
    return document["metadata"]["name"]


def once(cluster: Cluster, namespace: str, pod: str, holds) -> dict:
    """Return the pod as it is when the condition holds."""
    found: dict = {}

    def look() -> bool:
        found.update(cluster.get(f"/api/v1/namespaces/{namespace}/pods/{pod}") or {})
        return "podIP" in found["status"] and holds(found)

    try:
        wait_until(look, 60.0, f"{pod}: {holds.__name__}")
    except TimeoutError:
        print(json.dumps(found.get("status"), indent=1))
        raise
    return found


def statuses(pod: dict) -> list[dict]:
    """Return the containers' statuses, in the order in which they run."""
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def words(pod: dict) -> tuple[str, ...]:
    """Return where each container is: `running`, or the reason why it waits or has ended."""
    states = (next(iter(each["state"].items())) for each in statuses(pod))
    return tuple(state.get("reason", name) for name, state in states)


def restarts(pod: dict) -> int:
    return sum(each["restartCount"] for each in statuses(pod))


def is_ready(pod: dict) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
