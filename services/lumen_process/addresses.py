"""Hosts, ports and networks, the same for both families of addresses."""

import errno
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a bind fails with where the machine lacks the address, or its whole family."""


def host_port(host: str, port: int) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs there."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def is_this_machine(host: str) -> bool:
    """Whether `host` is the machine itself: localhost, a loopback address, or none in particular.

    A name that only a resolver knows is taken for another machine's.
    """
    bare = host.strip("[]").lower().rstrip(".")
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        address = ip_address(bare)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


LINKS = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
"""One link only; clouds answer for a machine's credentials here."""

METADATA = (
    IPv4Network("100.100.100.200/32"),
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.192/32"),
    IPv6Network("fd00:ec2::/32"),
    IPv6Network("fd20:ce::254/128"),
)
"""Where clouds answer for a machine's credentials and settings, beside the link."""

SPECIAL = (
    *LINKS,
    *METADATA,
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("::/127"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("100::/64"),
    IPv6Network("2001::/32"),
    IPv6Network("fec0::/10"),
    IPv6Network("ff00::/8"),
)
"""Nobody's address or this machine's, a group's, or one that a translator reads another from."""
