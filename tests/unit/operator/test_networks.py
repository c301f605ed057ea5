"""Which addresses may be called for spec.external."""

from ipaddress import ip_address

import pytest

from lumen_operator.observe.networks import ExternalNetworks, around, is_misspelt, literal, meant_by

LAN = ["10.1.2.0/24", "fd00:7::/64"]
EVERYTHING = ["0.0.0.0/0", "::/0"]


def allowed(address: str, *networks: str) -> bool:
    return ExternalNetworks.parse(networks).allow(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "fd00:7::9",
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "::ffff:0:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "2002:a01:203::1",
    ],
)
def test_an_address_of_a_named_network_is_allowed_however_it_is_wrapped(address):
    assert allowed(address, *LAN)


@pytest.mark.parametrize(
    "address",
    [
        "10.1.3.3",
        "192.168.7.20",
        "8.8.8.8",
        "fd00:8::9",
        "::ffff:10.1.3.3",
        "64:ff9b::10.1.3.3",
        "2002:a01:303::1",
        "127.0.0.1",
        "169.254.169.254",
    ],
)
def test_an_address_of_no_named_network_is_not(address):
    assert not allowed(address, *LAN)
    assert not allowed(address)


SPECIAL = [
    "0.0.0.0",
    "127.0.0.1",
    "127.8.9.10",
    "169.254.169.254",
    "169.254.20.10",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.251",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::fb",
    "fd00:ec2::254",
    "fd20:ce::254",
    "2001:0:7f00:1::",
    "64:ff9b:1::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", SPECIAL)
def test_the_machine_its_link_and_its_cloud_are_not_meant_by_everything(address):
    assert not allowed(address, *EVERYTHING)
    assert not allowed(address, *EVERYTHING, "100.64.0.0/10", "fd00::/8", "168.0.0.0/6")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("::ffff:127.0.0.1", "127.0.0.1/32"),
        ("169.254.20.10", "169.254.20.0/24"),
        ("fe80::1", "fe80::/64"),
        ("::1", "::1/128"),
        ("fd00:ec2::254", "fd00:ec2::254/128"),
    ],
)
def test_a_network_within_a_special_one_is_meant(address, network):
    assert allowed(address, network)
    assert not allowed(address, "10.0.0.0/8")


def test_an_address_that_carries_none_means_itself():
    assert meant_by(ip_address("2001:db8::7f00:1")) == ip_address("2001:db8::7f00:1")
    assert meant_by(ip_address("::1")) == ip_address("::1")
    assert meant_by(ip_address("10.0.0.1")) == ip_address("10.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "127.0.0.01",
        "10.1.2.256",
        "10.1.2.3.4",
        "board.1",
        "board.0x1",
        "fe80::1%eth0",
        "fe80::1%251",
        ":::1",
        "1:2",
        "",
    ],
)
def test_what_only_some_resolvers_read_as_an_address_is_misspelt(host):
    assert is_misspelt(host)


@pytest.mark.parametrize(
    "host",
    ["board", "board.lan", "board7.lan", "7board.lan", "xn--bcher-kva.example", "10.1.2.3", "::1"],
)
def test_names_and_plain_addresses_are_not(host):
    assert not is_misspelt(host)


def test_a_name_is_no_literal_and_an_administrator_names_the_network_about_an_address():
    assert literal("board.lan") is None
    assert str(around(ip_address("10.1.2.3"))) == "10.1.2.0/24"
    assert str(around(ip_address("::ffff:10.1.2.3"))) == "10.1.2.0/24"
    assert str(around(ip_address("fd00:7::9"))) == "fd00:7::/64"


@pytest.mark.parametrize("text", ["10.1.2.3/24", "10.1.2.0/33", "board.lan", ""])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        ExternalNetworks.parse([text])
