"""Servers outside the cluster under the operator, on a real API server.

Every page is asked at a Unix socket, where the test answers for each host; two namespaces have
services, and one operator watches all.
"""

import json
import time
from collections import Counter

import pytest
from cluster_objects import a_service
from controlplane.cluster import unique_name
from operator_lab import grant, operator_lab
from status_pages import StatusPages

CROWD = 300
SLOW_S = 1.5
NETWORKS = '["10.9.0.0/16"]'
PAGE = {
    "phase": "serving",
    "runtime": {"name": "onnx", "device": "cpu"},
    "embeddingSpace": "a" * 64,
    "files": {"revision": "main", "digest": "d" * 64, "bytes": 9},
    "tasks": ["clip_image_embed"],
    "modelId": "board",
}


class Boards:
    """The pages of all boards: those of 10.9.1.x change each time, those above are slow too."""

    def __init__(self):
        self.asked = []

    def count(self, host):
        return Counter(self.asked)[host]

    def page(self, host):
        self.asked.append(host)
        group = int(host.split(".")[2]) if host.startswith("10.9.") else 0
        if group > 1:
            time.sleep(SLOW_S)
        return PAGE if group == 0 else PAGE | {"modelId": f"board-{len(self.asked)}"}


@pytest.fixture(scope="module")
def lab(private_control_plane, tmp_path_factory):
    with operator_lab(private_control_plane, tmp_path_factory.mktemp("external")) as found:
        grant(private_control_plane, found.namespace, found.folder, everywhere=True)
        yield found


@pytest.fixture(scope="module")
def boards(lab):
    found = Boards()
    with StatusPages(lab.folder / "pods.sock", found.page):
        lab.running(LUMEN_EXTERNAL_NETWORKS=NETWORKS, LUMEN_WATCH_NAMESPACE="")
        yield found


def a_board(lab, name, address, namespace=""):
    return a_service(name, namespace=namespace or lab.namespace, external=address, pool=None)


def routes(lab, name):
    return [each["service"] for each in lab.service(name)["status"].get("routes", [])]


def writes_of(lab, name):
    path = lab.path("lumenmodelservices", name)
    return [call for call in lab.proxy.writes if call.path.startswith(f"{path}/status")]


def test_a_server_in_a_named_network_is_asked_and_routed_to_by_its_address(lab, boards):
    lab.apply(a_board(lab, "inside", "10.9.0.7:50051"))
    lab.wait_ready("inside")

    assert routes(lab, "inside") == ["10.9.0.7:50051"]
    assert lab.service("inside")["status"]["modelId"] == "board"


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        (
            "outside",
            "10.1.2.3:50051",
            "in no network of external.allowedNetworks. Ask the administrator to add 10.1.2.0/24",
        ),
        ("metadata", "169.254.169.254:80", "169.254.169.254:80 is in no network of external."),
        ("mapped", "[::ffff:169.254.169.254]:80", "(which is 169.254.169.254) is in no network"),
        ("loopback", "localhost:50051", "localhost:50051 resolves to"),
        ("number", "2130706433:50051", "is neither an address nor a name with a port"),
    ],
)
def test_a_server_elsewhere_is_refused_with_what_to_set_and_nobody_asks_it(
    lab, boards, name, address, said
):
    lab.apply(a_board(lab, name, address))
    lab.wait_until(lambda: said in lab.message("Ready", name), f"{name} is refused")

    assert lab.condition("Ready", name) == ("False", "InvalidSpec")
    assert routes(lab, name) == []
    assert address.rpartition(":")[0].strip("[]") not in {host.strip("[]") for host in boards.asked}


def test_a_crowd_on_slow_pages_that_always_change_disturbs_no_other_namespace(lab, boards):
    crowd = unique_name("crowd")
    lab.plane.create_namespace(crowd)
    lab.stack.callback(lab.plane.delete, f"/api/v1/namespaces/{crowd}")
    lab.apply(a_board(lab, "settled", "10.9.0.8:50051"))
    lab.wait_ready("settled")
    before = len(writes_of(lab, "settled"))
    addresses = [f"10.9.{2 + number // 250}.{number % 250}" for number in range(CROWD)]
    items = [a_board(lab, f"b{n}", f"{at}:50051", crowd) for n, at in enumerate(addresses)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    lab.plane.kubectl("create", "-f", "-", stdin=text)
    lab.wait_until(lambda: set(addresses) & set(boards.asked), "the crowd is asked")

    began = time.monotonic()
    lab.apply(
        a_board(lab, "newcomer", "10.9.0.9:50051"), a_board(lab, "restless", "10.9.1.1:50051")
    )
    lab.wait_ready("newcomer")
    at = boards.asked.index("10.9.0.9")
    assert len(set(addresses) & set(boards.asked[:at])) < CROWD

    wanted = len(boards.asked) + 60
    lab.wait_until(lambda: len(boards.asked) >= wanted, "the crowd is asked on")
    lab.wait_until(lambda: boards.count("10.9.1.1") >= 5, "a page has changed a few times")
    changes = len(writes_of(lab, "restless"))
    lasted_s = time.monotonic() - began

    assert len(writes_of(lab, "settled")) == before
    assert lab.is_ready("settled")
    assert lab.is_ready("newcomer")
    assert changes <= 3 + lasted_s / 60
