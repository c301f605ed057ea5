"""Which addresses may be called for `spec.external`: those of networks that were named. Pure.

Whoever writes a service makes the operator ask its address and the router call it, from places
that he cannot reach himself: so the cluster's administrator names the networks.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from lumen_process.addresses import SPECIAL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_EMBEDDING = tuple(
    IPv6Network(text) for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
"""Their last 32 bits are an IPv4 address: compatible, mapped, translated, and NAT64."""
_SIX_TO_FOUR = IPv6Network("2002::/16")
_OWN = IPv6Network("::/127")
_NUMERIC_END = re.compile(r"(^|\.)(0[xX][0-9A-Fa-f]*|[0-9]+)\.?$")


@dataclass(frozen=True, slots=True)
class ExternalNetworks:
    """The networks that the administrator named; nothing is allowed while there are none."""

    named: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "ExternalNetworks":
        """Read networks such as 192.168.7.0/24; raises ValueError, which says what is wrong."""
        return cls(tuple(ip_network(text) for text in texts))

    def allow(self, address: Address) -> bool:
        """Return whether an address lies in a named network.

        A special one needs a network that is itself special: nobody means the machine or its link
        by 0.0.0.0/0.
        """
        meant = meant_by(address)
        special = [network for network in SPECIAL if meant in network]
        return any(
            meant in network and all(_within(network, each) for each in special)
            for network in self.named
        )


def meant_by(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address carries, else the address itself."""
    if not isinstance(address, IPv6Address) or address in _OWN:
        return address
    if address in _SIX_TO_FOUR:
        return IPv4Address((int(address) >> 80) & 0xFFFFFFFF)
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_special(address: Address) -> bool:
    """Return whether an address is this machine's, its link's, a group's or its cloud's."""
    return any(meant_by(address) in network for network in SPECIAL)


def around(address: Address) -> Network:
    """Return the usual network about an address, which an administrator would name."""
    meant = meant_by(address)
    return ip_network(f"{meant}/{24 if meant.version == 4 else 64}", strict=False)


def literal(host: str) -> Address | None:
    """Read a host that is an address; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_misspelt(host: str) -> bool:
    """Return whether a host is neither a name nor an address in its one usual spelling.

    Resolvers also read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses, each in its own way; of a
    zone (`%eth0`) only the machine that wrote it knows what it means.
    """
    if "%" in host or not host:
        return True
    return literal(host) is None and (":" in host or _NUMERIC_END.search(host) is not None)


def _within(network: Network, outer: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(outer, IPv4Network) and network.subnet_of(outer)
    return isinstance(outer, IPv6Network) and network.subnet_of(outer)
