"""An announcement on the local network is found while it is entered, and stops nobody."""

import asyncio
import sys

import pytest
from structlog.testing import capture_logs
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lumen_process.mdns import Announcement, Announcer, choose_address, unique_instance


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
