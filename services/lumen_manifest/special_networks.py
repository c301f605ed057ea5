"""Networks that are never meant by accident: the machine itself, its link, and a cloud's own.

Model pods may not fetch from `METADATA` and the links (the NetworkPolicy), and the operator calls
no address of `SPECIAL` for `spec.external` unless a network within it was named.
"""

from ipaddress import IPv4Network, IPv6Network

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
