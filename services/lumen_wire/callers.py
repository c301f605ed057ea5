"""Who is at the other end of a call, as far as gRPC can tell."""

from typing import NamedTuple


class Caller(NamedTuple):
    """An address, and one of its connections; behind a proxy both are the proxy's."""

    address: str
    connection: str


def caller_of(peer: str) -> Caller:
    """Return the caller of a peer as `context.peer()` names it.

    `ipv4:10.0.0.7:4711` and `ipv6:%5B::1%5D:4711` (gRPC escapes the brackets) end in the port of
    the connection; a socket file (`unix:`), and whatever else there is, has none.
    """
    family, _, rest = peer.partition(":")
    if family not in {"ipv4", "ipv6"}:
        return Caller(peer, "")
    host, _, port = rest.rpartition(":")
    return Caller(f"{family}:{host}", port) if port.isdigit() else Caller(peer, "")
