"""What kwok plays is what a kubelet would report, so that tests may build on it."""

import json

from controlplane import nodes
from controlplane.cluster import Cluster, unique_name
from controlplane.nodes import Behaviour
from controlplane.programs import wait_until


def a_pod(behaviour: Behaviour | None = None, **annotations: str) -> dict:
    said = {} if behaviour is None else {nodes.BEHAVIOUR: behaviour}
    return {
        "metadata": {"name": unique_name("pod"), "annotations": {**said, **annotations}},
        "spec": {
            "initContainers": [
                {"name": "resources", "image": "resources:1"},
                {"name": "prepare", "image": "server:1"},
            ],
            "containers": [{"name": "server", "image": "server:1"}],
            "terminationGracePeriodSeconds": 5,
        },
    }


def test_a_pod_that_says_nothing_gets_ready_on_the_plain_node(control_plane, namespace):
    pod = created(control_plane, namespace, a_pod())

    found = once(control_plane, namespace, pod, is_ready)

    assert found["spec"]["nodeName"] == "plain"
    assert [each["ready"] for each in found["status"]["containerStatuses"]] == [True]
    assert found["status"]["podIP"].startswith(("198.18.", "198.19."))


def created(cluster: Cluster, namespace: str, document: dict) -> str:
    cluster.create(f"/api/v1/namespaces/{namespace}/pods", document)
    return document["metadata"]["name"]


def once(cluster: Cluster, namespace: str, pod: str, holds) -> dict:
    """Return the pod as it is when the condition holds."""
    found: dict = {}

    def look() -> bool:
        found.clear()
        found.update(cluster.get(f"/api/v1/namespaces/{namespace}/pods/{pod}") or {})
        return holds(found)

    wait_until(look, 30.0, f"{pod}: {holds.__name__}; it is {json.dumps(found.get('status'))}")
    return found


def is_ready(pod: dict) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
