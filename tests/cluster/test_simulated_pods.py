"""What kwok plays is what a kubelet would report, so that tests may build on it."""

import json

import pytest
from controlplane import nodes
from controlplane.cluster import Cluster, unique_name
from controlplane.nodes import Behaviour
from controlplane.programs import wait_until


def test_a_pod_that_says_nothing_gets_ready_on_the_plain_node(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod())

    found = once(control_plane, namespace, pod, is_ready)

    assert found["spec"]["nodeName"] == "plain"
    assert states(found) == ["terminated", "terminated", "running"]
    assert found["status"]["podIP"].startswith(("198.18.", "198.19."))


def test_an_init_container_of_a_ready_pod_leaves_its_message(control_plane, namespace):
    message = json.dumps({"revision": "abc", "bytes": 12})
    pod = created(control_plane, namespace, a_pod(message=message))

    resources, prepare, _ = statuses(once(control_plane, namespace, pod, is_ready))

    assert resources["state"]["terminated"]["message"] == message
    assert resources["state"]["terminated"]["exitCode"] == 0
    assert "message" not in prepare["state"]["terminated"]


def test_a_slow_pod_keeps_fetching_until_it_is_told_otherwise(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod(Behaviour.SLOW))

    def fetches(found: dict) -> bool:
        return states(found) == ["running", "waiting", "waiting"]

    assert once(control_plane, namespace, pod, fetches)["status"]["phase"] == "Pending"

    control_plane.set_behaviour(namespace, pod, Behaviour.READY)

    assert once(control_plane, namespace, pod, is_ready)["status"]["phase"] == "Running"


def test_a_failing_init_container_leaves_its_message_and_tries_again(control_plane, namespace):
    message = '{"reason": "Unauthorized", "message": "the hub says \\"no\\""}'
    wanted = a_pod(Behaviour.INIT_FAILS, message=message, exit_code="3")
    pod = created(control_plane, namespace, wanted)

    def was_put_off(found: dict) -> bool:
        return waiting(found, "resources") == "CrashLoopBackOff"

    resources, prepare, server = statuses(once(control_plane, namespace, pod, was_put_off))
    assert resources["lastState"]["terminated"]["message"] == message
    assert resources["lastState"]["terminated"]["exitCode"] == 3
    assert [waits["state"]["waiting"]["reason"] for waits in (prepare, server)] == [
        "PodInitializing",
        "PodInitializing",
    ]

    def failed_again(found: dict) -> bool:
        return restarts(found, "resources") >= 1 and "terminated" in states(found)

    once(control_plane, namespace, pod, failed_again)


def test_a_later_init_container_fails_after_the_first_has_succeeded(control_plane, namespace):
    wanted = a_pod(Behaviour.INIT_FAILS, message="no space left", container="prepare")
    pod = created(control_plane, namespace, wanted)

    def failed(found: dict) -> bool:
        return states(found)[1] == "terminated"

    resources, prepare, _ = statuses(once(control_plane, namespace, pod, failed))
    assert resources["state"]["terminated"]["reason"] == "Completed"
    assert prepare["state"]["terminated"]["message"] == "no space left"


def test_a_failing_pod_that_is_healed_gets_ready_and_keeps_its_restarts(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod(Behaviour.INIT_FAILS))

    def restarted(found: dict) -> bool:
        return restarts(found, "resources") >= 1

    once(control_plane, namespace, pod, restarted)
    control_plane.set_behaviour(namespace, pod, Behaviour.READY)

    assert restarts(once(control_plane, namespace, pod, is_ready), "resources") >= 1


def test_a_crashing_server_is_restarted_ever_later(control_plane, namespace):
    wanted = a_pod(Behaviour.CRASH_LOOP, message="segmentation fault", exit_code="139")
    pod = created(control_plane, namespace, wanted)

    def was_put_off_again(found: dict) -> bool:
        return waiting(found, "server") == "CrashLoopBackOff" and restarts(found, "server") >= 1

    found = once(control_plane, namespace, pod, was_put_off_again)
    ended = statuses(found)[-1]["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("Error", 139)
    assert ended["message"] == "segmentation fault"
    assert not is_ready(found)


def test_a_server_without_memory_is_killed(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod(Behaviour.OOM))

    def was_killed(found: dict) -> bool:
        return states(found)[-1] == "terminated"

    ended = statuses(once(control_plane, namespace, pod, was_killed))[-1]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.parametrize("container", ["resources", "server"])
def test_an_image_that_cannot_be_pulled_is_backed_off(control_plane, namespace, container):
    wanted = a_pod(Behaviour.IMAGE_PULL, container=container)
    pod = created(control_plane, namespace, wanted)

    def was_put_off(found: dict) -> bool:
        return waiting(found, container) == "ImagePullBackOff"

    found = once(control_plane, namespace, pod, was_put_off)
    assert found["status"]["phase"] == "Pending"
    assert not is_ready(found)


def test_a_server_whose_probes_fail_runs_and_is_not_ready(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod(Behaviour.NEVER_READY))

    def runs(found: dict) -> bool:
        return states(found) == ["terminated", "terminated", "running"]

    found = once(control_plane, namespace, pod, runs)
    assert statuses(found)[-1]["started"] is False
    assert not is_ready(found)


def test_an_evicted_pod_has_failed_and_says_why(control_plane, namespace):
    message = 'Usage of EmptyDir volume "cache" exceeds the limit "8Gi". '
    pod = created(control_plane, namespace, a_pod(Behaviour.EVICTED, message=message))

    def has_failed(found: dict) -> bool:
        return found["status"]["phase"] == "Failed"

    status = once(control_plane, namespace, pod, has_failed)["status"]
    assert (status["reason"], status["message"]) == ("Evicted", message)


def test_a_label_says_the_behaviour_too(control_plane, namespace):
    wanted = a_pod()
    wanted["metadata"]["labels"] = {nodes.BEHAVIOUR: Behaviour.OOM}
    pod = created(control_plane, namespace, wanted)

    def was_killed(found: dict) -> bool:
        return states(found)[-1] == "terminated"

    ended = statuses(once(control_plane, namespace, pod, was_killed))[-1]["state"]["terminated"]
    assert ended["reason"] == "OOMKilled"


def test_a_deleted_pod_is_seen_terminating_while_it_takes_its_time(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod(stop_delay="2s"))
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    once(control_plane, namespace, pod, is_ready)

    control_plane.delete(path)

    still_there = control_plane.get(path)
    assert still_there is not None
    assert still_there["metadata"]["deletionTimestamp"]
    assert is_ready(still_there)
    wait_until(lambda: control_plane.get(path) is None, 60, "the pod is gone")


def test_a_pod_without_init_containers_lives_and_dies_as_well(control_plane, namespace):
    wanted = a_pod(Behaviour.CRASH_LOOP)
    del wanted["spec"]["initContainers"]
    pod = created(control_plane, namespace, wanted)

    def was_put_off(found: dict) -> bool:
        return waiting(found, "server") == "CrashLoopBackOff"

    once(control_plane, namespace, pod, was_put_off)
    control_plane.set_behaviour(namespace, pod, Behaviour.READY)
    once(control_plane, namespace, pod, is_ready)


def a_pod(
    behaviour: Behaviour | None = None,
    *,
    message: str | None = None,
    container: str | None = None,
    exit_code: str | None = None,
    stop_delay: str | None = None,
) -> dict:
    said = {
        nodes.BEHAVIOUR: behaviour,
        nodes.TERMINATION_MESSAGE: message,
        nodes.CONTAINER: container,
        nodes.EXIT_CODE: exit_code,
        nodes.STOP_DELAY: stop_delay,
    }
    annotations = {name: value for name, value in said.items() if value is not None}
    return {
        "metadata": {"name": unique_name("pod"), "annotations": annotations},
        "spec": {
            "initContainers": [
                {"name": "resources", "image": "resources:1"},
                {"name": "prepare", "image": "server:1"},
            ],
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


def states(pod: dict) -> list[str]:
    return [next(iter(each["state"])) for each in statuses(pod)]


def waiting(pod: dict, container: str) -> str | None:
    (found,) = [each for each in statuses(pod) if each["name"] == container]
    return found["state"].get("waiting", {}).get("reason")


def restarts(pod: dict, container: str) -> int:
    (found,) = [each for each in statuses(pod) if each["name"] == container]
    return found["restartCount"]


def is_ready(pod: dict) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
