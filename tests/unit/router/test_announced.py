"""Which address of the router's Service is announced on the local network."""

import asyncio

import pytest
from structlog.testing import capture_logs
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lumen_process.settings import SettingsError
from lumen_router import advertise
from lumen_router.advertise import (
    Advertiser,
    AnnouncedEndpoint,
    AnnouncementOverrides,
    AnnouncerSettings,
    NotAnnounced,
    look,
    reach_of,
)

ENVIRONMENT = {
    "LUMEN_NAMESPACE": "lumen",
    "LUMEN_SERVICE": "lumen-router",
    "LUMEN_ROUTER": "127.0.0.1:1",
    "LUMEN_NODE_IP": "192.168.7.7",
    "LUMEN_MDNS_TYPE": "_lumen-router-t._tcp.local.",
}


def a_service(kind="LoadBalancer", *, ingress=(), node_port=None):
    port = {"name": "grpc", "port": 50051, **({"nodePort": node_port} if node_port else {})}
    return {
        "spec": {"type": kind, "ports": [port]},
        "status": {"loadBalancer": {"ingress": list(ingress)}},
    }


def settings(**changes):
    return AnnouncerSettings.from_environment({**ENVIRONMENT, **changes})


BALANCED = a_service(ingress=[{"hostname": "lb.example.org"}, {"ip": "192.168.7.50"}])


@pytest.mark.parametrize(
    ("service", "told", "announced"),
    [
        (BALANCED, (), ("192.168.7.50", 50051)),
        (a_service("NodePort", node_port=30051), (), ("192.168.7.7", 30051)),
        (BALANCED, ("10.1.2.3",), ("10.1.2.3", 50051)),
        (BALANCED, ("10.1.2.3", 443), ("10.1.2.3", 443)),
    ],
    ids=["the balancer's", "the node's", "as told", "as told with its port"],
)
def test_the_address_that_others_reach_is_announced(service, told, announced):
    found = reach_of(service, "192.168.7.7", AnnouncementOverrides(*told))

    assert found == AnnouncedEndpoint(*announced)


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (a_service(), "no IP address yet"),
        (a_service(ingress=[{"hostname": "lb.example.org"}]), "no IP address yet"),
        (a_service("ClusterIP"), "from inside the cluster only"),
        ({}, "no port named grpc"),
    ],
)
def test_an_address_that_nobody_reaches_is_not_announced(service, why):
    found = reach_of(service, "192.168.7.7")

    assert isinstance(found, NotAnnounced)
    assert why in found.why


async def test_a_router_that_does_not_serve_is_not_announced():
    assert await look(settings()) == NotAnnounced("the router does not serve")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"LUMEN_SERVICE": ""}, "LUMEN_SERVICE"),
        ({"LUMEN_NODE_IP": ""}, "LUMEN_NODE_IP"),
        ({"LUMEN_MDNS_PORT": "http"}, "LUMEN_MDNS_PORT"),
        ({"LUMEN_MDNS_PORT": "65536"}, "LUMEN_MDNS_PORT"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(changes, named):
    with pytest.raises(SettingsError, match=named):
        settings(**changes)


async def test_a_new_address_replaces_the_one_before_and_the_end_withdraws_it():
    reaches = [
        AnnouncedEndpoint("127.0.0.1", 50051),
        AnnouncedEndpoint("127.0.0.1", 50052),
        NotAnnounced("gone"),
    ]
    advertiser = Advertiser(settings(), lambda: _next(reaches), every_s=0.01)
    instance = advertiser._announcement(reaches[0]).instance
    stop = asyncio.Event()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        living = tasks.create_task(advertiser.live(stop))
        ports = [await _announced_port(instance, 50051)]
        reaches.pop(0)
        ports.append(await _announced_port(instance, 50052))
        reaches.pop(0)
        ports.append(await _announced_port(instance, None))
        stop.set()
        await living

    assert ports == [50051, 50052, None]


async def test_an_announcement_that_failed_is_tried_again():
    stop = asyncio.Event()
    looks = []

    async def look_thrice():
        looks.append("look")
        if len(looks) == 3:
            stop.set()
        return AnnouncedEndpoint("no-address", 1)

    with capture_logs() as logs:
        async with asyncio.timeout(60):
            await Advertiser(settings(), look_thrice, every_s=0.01).live(stop)

    assert [entry["event"] for entry in logs] == [
        "mDNS announcement failed, serving without it"
    ] * 3


async def _next(reaches):
    return reaches[0]


async def _announced_port(instance, wanted):
    """Ask until a client of this machine sees that port; a fresh client each time, no cache."""
    service_type = ENVIRONMENT["LUMEN_MDNS_TYPE"]
    while True:
        zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            info = AsyncServiceInfo(service_type, f"{instance}.{service_type}")
            found = info.port if await info.async_request(zeroconf.zeroconf, 500) else None
        finally:
            await zeroconf.async_close()
        if found == wanted:
            return found


async def test_without_a_service_account_nothing_is_announced_and_the_reason_is_told(
    monkeypatch, tmp_path
):
    async def it_serves(_):
        return True

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(advertise, "serves", it_serves)

    found = await look(settings())

    assert isinstance(found, NotAnnounced)
    assert "mounted ServiceAccount token" in found.why
