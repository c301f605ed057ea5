"""Devices of simulated nodes are the real scheduler's business, as those of real nodes are."""

import pytest
from controlplane.cluster import unique_name
from controlplane.programs import wait_until

NVIDIA = "nvidia.com/gpu"


@pytest.fixture
def gpu_node(control_plane):
    """A node of its own label that offers one device."""
    name = unique_name("gpu")
    control_plane.add_node(name, labels={"test.lumen.dev/node": name}, devices={NVIDIA: 1})
    yield name
    control_plane.remove_node(name)


def test_a_second_pod_waits_until_the_first_frees_the_device(control_plane, namespace, gpu_node):
    first, second = a_pod("first", gpu_node), a_pod("second", gpu_node)
    pods = f"/api/v1/namespaces/{namespace}/pods"

    control_plane.create(pods, first)
    wait_until(lambda: node_of(control_plane.get(f"{pods}/first")) == gpu_node, 60, "it is placed")
    control_plane.create(pods, second)

    def said() -> str:
        found = control_plane.get(f"{pods}/second")
        return "".join(each.get("message", "") for each in found["status"].get("conditions", []))

    wait_until(lambda: f"Insufficient {NVIDIA}" in said(), 60, "the scheduler says why it waits")

    control_plane.delete(f"{pods}/first")
    wait_until(lambda: node_of(control_plane.get(f"{pods}/second")) == gpu_node, 60, "it is placed")


def test_a_pod_that_no_node_suits_stays_unscheduled(control_plane, namespace):
    pods = f"/api/v1/namespaces/{namespace}/pods"
    control_plane.create(pods, a_pod("lonely", "no-such-node"))

    def reason() -> str:
        conditions = control_plane.get(f"{pods}/lonely")["status"].get("conditions", [])
        return "".join(each.get("reason", "") for each in conditions)

    wait_until(lambda: reason() == "Unschedulable", 60, "the scheduler gives up for now")


def test_a_taint_keeps_pods_away_that_do_not_tolerate_it(control_plane, namespace):
    name = unique_name("tainted")
    taint = {"key": NVIDIA, "value": "present", "effect": "NoSchedule"}
    control_plane.add_node(name, labels={"test.lumen.dev/node": name}, taints=(taint,))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    tolerant = a_pod("tolerant", name, device=False)
    tolerant["spec"]["tolerations"] = [{"key": NVIDIA, "operator": "Exists"}]

    control_plane.create(pods, a_pod("sensitive", name, device=False))
    control_plane.create(pods, tolerant)

    wait_until(lambda: node_of(control_plane.get(f"{pods}/tolerant")) == name, 60, "it is placed")
    assert node_of(control_plane.get(f"{pods}/sensitive")) is None
    control_plane.remove_node(name)


def test_a_node_shows_its_devices_to_kubectl(control_plane, gpu_node):
    shown = control_plane.kubectl(
        "get", "node", gpu_node, "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}"
    )

    assert shown == "1"


def a_pod(name: str, node: str, *, device: bool = True) -> dict:
    limits = {NVIDIA: "1"} if device else {}
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"test.lumen.dev/node": node},
            "containers": [{"name": "server", "image": "i", "resources": {"limits": limits}}],
        },
    }


def node_of(pod: dict | None) -> str | None:
    return pod["spec"].get("nodeName") if pod else None
