"""What a server announces on the local network, and that it never does so too early or too long."""

import asyncio
import sys

import pytest
from structlog.testing import capture_logs
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lumen_manifest.server_config import ServerConfig
from lumen_process.mdns import Announcement, Announcer, choose_address, full_type, unique_instance
from lumen_serving.main import announcement
from lumen_serving.settings import ServerSettings


def a_config(**mdns):
    document = {"service": "clip", "family": "clip", "model": {"name": "m", "runtime": "onnx"}}
    return ServerConfig.model_validate({**document, "mdns": mdns} if mdns else document)


def settings(**env):
    return ServerSettings.from_environment({"LUMEN_BIND": "127.0.0.1", **env})


def an_announcement(**changes):
    values = {
        "types": ("_lumen-test._tcp.local.",),
        "instance": unique_instance("clip", "0123456789abcdef"),
        "address": "127.0.0.1",
        "port": 50051,
        "properties": {"status": "ready"},
    }
    return Announcement(**{**values, **changes})


async def found(service_type, instance, wait_ms=10_000):
    """What a client on this machine sees of an instance; None when nobody answers."""
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
    try:
        info = AsyncServiceInfo(service_type, f"{instance}.{service_type}")
        answered = await info.async_request(zeroconf.zeroconf, wait_ms)
        return info if answered else None
    finally:
        await zeroconf.async_close()


def test_nothing_is_announced_unless_the_configuration_says_so():
    assert announcement(a_config(), settings(), 1) is None
    assert announcement(a_config(enabled=False), settings(), 1) is None


def test_both_generations_of_types_and_records_come_from_the_configuration():
    told = announcement(
        a_config(
            type="_homenative-node._tcp.local.,_lumen-clip._tcp.local",
            name="attic",
            uuid="11112222-3333",
            status="ok",
            version="9.1",
        ),
        settings(ADVERTISE_IP="10.1.2.3"),
        50052,
    )

    assert [full_type(name) for name in told.types] == [
        "_homenative-node._tcp.local.",
        "_lumen-clip._tcp.local.",
    ]
    assert (told.instance, told.address, told.port) == ("attic-11112222", "10.1.2.3", 50052)
    assert told.properties == {
        "uuid": "11112222-3333",
        "status": "ok",
        "version": "9.1",
        "v": "9.1",
        "runtime": "onnx",
    }


def test_two_servers_of_one_name_are_two_instances():
    one, two = (announcement(a_config(name="clip"), settings(), 1) for _ in range(2))

    assert one.instance != two.instance
    assert one.types == ("_lumen._tcp.local.",)


def test_a_long_name_still_fits_one_label():
    instance = unique_instance("ü" * 100, "0123456789abcdef")

    assert len(instance.encode()) <= 63
    assert instance.endswith("-01234567")


@pytest.mark.parametrize(
    ("advertise_ip", "bind", "expected"),
    [
        ("192.168.7.8", "0.0.0.0", "192.168.7.8"),
        ("", "192.168.7.9", "192.168.7.9"),
        ("", "[::1]", "::1"),
    ],
)
def test_the_address_is_as_told_else_as_bound(advertise_ip, bind, expected):
    assert choose_address(advertise_ip, bind) == expected


async def test_an_announced_server_is_found_and_withdrawn_when_it_leaves():
    told = an_announcement()
    with capture_logs() as logs:
        async with asyncio.timeout(60), Announcer(told):
            seen = await found(told.types[0], told.instance)
    gone = await found(told.types[0], told.instance, wait_ms=300)

    assert seen.port == 50051
    assert seen.parsed_addresses() == ["127.0.0.1"]
    assert seen.decoded_properties == {"status": "ready"}
    assert gone is None
    assert any("loopback" in entry["event"] for entry in logs)


async def test_without_the_package_it_warns_and_goes_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with capture_logs() as logs:
        async with Announcer(an_announcement()):
            pass

    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "zeroconf" in logs[0]["event"]


@pytest.mark.parametrize(
    "wrong", [{"address": "no-address"}, {"types": ("_longer-than-15-bytes._tcp.local.",)}]
)
async def test_what_cannot_be_announced_warns_and_goes_on(wrong):
    with capture_logs() as logs:
        async with Announcer(an_announcement(**wrong)):
            pass

    assert "mDNS announcement failed, serving without it" in [entry["event"] for entry in logs]
