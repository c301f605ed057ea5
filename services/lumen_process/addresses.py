"""Hosts and ports, the same for both families of addresses."""

import errno

NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a bind fails with where the machine lacks the address, or its whole family."""


def host_port(host: str, port: int) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs there."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
