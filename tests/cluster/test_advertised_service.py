"""The advertiser reads the router's Service from a real API server, and nothing else."""

import pytest
from chart.rendering import CHART, run
from go_tools import program

from lumen_cluster.client import ClusterClient, find_server
from lumen_cluster.errors import Forbidden
from lumen_router.advertise import AnnouncedEndpoint, NotAnnounced, reach_of, read_service

MDNS = ("--set=router.mdns.enabled=true", "--set=router.service.type=LoadBalancer")


@pytest.fixture
async def client(control_plane, namespace):
    """A client with the credentials of the chart's advertiser."""
    text = run(
        program("helm3"), "template", "lumen", CHART, f"--namespace={namespace}", *MDNS,
        "--show-only=templates/mdns-rbac.yaml", "--show-only=templates/router-service.yaml",
    )  # fmt: skip
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)
    found = await find_server(str(control_plane.kubeconfig_for(namespace, "lumen-mdns")), {})
    async with ClusterClient(found, "lumen-test") as client:
        yield client


async def test_the_address_that_a_load_balancer_gives_is_announced(
    control_plane, namespace, client
):
    before = reach_of(await read_service(client, namespace, "lumen-router"), "192.168.7.7")

    control_plane.patch(
        f"/api/v1/namespaces/{namespace}/services/lumen-router/status",
        {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.7.50"}]}}},
    )

    after = reach_of(await read_service(client, namespace, "lumen-router"), "192.168.7.7")
    assert isinstance(before, NotAnnounced)
    assert after == AnnouncedEndpoint("192.168.7.50", 50051)


async def test_a_node_port_that_kubernetes_chose_is_announced(control_plane, namespace, client):
    path = f"/api/v1/namespaces/{namespace}/services/lumen-router"
    chosen = control_plane.patch(path, {"spec": {"type": "NodePort"}})["spec"]["ports"][0]

    reach = reach_of(await read_service(client, namespace, "lumen-router"), "192.168.7.7")

    assert reach == AnnouncedEndpoint("192.168.7.7", chosen["nodePort"])


async def test_another_service_may_not_be_read(control_plane, namespace, client):
    control_plane.kubectl("create", "service", "clusterip", "other", "--tcp=80", "-n", namespace)

    with pytest.raises(Forbidden, match="403"):
        await read_service(client, namespace, "other")
