"""The advertiser reads the router's Service from a real API server, and nothing else."""

import shutil
import urllib.error
from urllib.parse import urlsplit

import pytest
from chart.rendering import CHART, run
from go_tools import program

from lumen_router.advertise.announced import AnnouncedEndpoint, NotAnnounced, reach_of
from lumen_router.advertise.announcer import read_service

MDNS = ("--set=router.mdns.enabled=true", "--set=router.service.type=LoadBalancer")


@pytest.fixture
def account(control_plane, namespace, tmp_path, monkeypatch):
    """The folder in which a pod of the chart's advertiser finds its credentials."""
    text = run(
        program("helm3"), "template", "lumen", CHART, f"--namespace={namespace}", *MDNS,
        "--show-only=templates/mdns-rbac.yaml", "--show-only=templates/router-service.yaml",
    )  # fmt: skip
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)
    token = control_plane.kubectl("create", "token", "lumen-mdns", f"-n={namespace}")
    (tmp_path / "token").write_text(token)
    shutil.copy(control_plane.ca, tmp_path / "ca.crt")
    server = urlsplit(control_plane.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", server.hostname)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    return tmp_path


def test_the_address_that_a_load_balancer_gives_is_announced(control_plane, namespace, account):
    before = reach_of(read_service(namespace, "lumen-router", account), "192.168.7.7")

    control_plane.patch(
        f"/api/v1/namespaces/{namespace}/services/lumen-router/status",
        {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.7.50"}]}}},
    )

    after = reach_of(read_service(namespace, "lumen-router", account), "192.168.7.7")
    assert isinstance(before, NotAnnounced)
    assert after == AnnouncedEndpoint("192.168.7.50", 50051)


def test_a_node_port_that_kubernetes_chose_is_announced(control_plane, namespace, account):
    path = f"/api/v1/namespaces/{namespace}/services/lumen-router"
    chosen = control_plane.patch(path, {"spec": {"type": "NodePort"}})["spec"]["ports"][0]

    reach = reach_of(read_service(namespace, "lumen-router", account), "192.168.7.7")

    assert reach == AnnouncedEndpoint("192.168.7.7", chosen["nodePort"])


def test_another_service_may_not_be_read(control_plane, namespace, account):
    control_plane.kubectl("create", "service", "clusterip", "other", "--tcp=80", "-n", namespace)

    with pytest.raises(urllib.error.HTTPError, match="403"):
        read_service(namespace, "other", account)
