"""Who is at the other end of a call, as far as gRPC and a router can tell.

Only fairness rests on it: shares of a budget, and turns in a queue. A router makes all calls from
its own address, so it tells pods whom each is for, by two opaque names. Anyone may tell names, and
gains nothing: they divide the share and the turns of the connection that tells them.
"""

import os
from collections.abc import Iterable
from hashlib import blake2b

Caller = tuple[str, ...]
"""An address, one of its connections, and whom that tells of; behind a proxy, the proxy's."""

STRANGER: Caller = ("", "")
CALLER_METADATA = "lumen-caller"

_LONGEST_NAME = 32
# Four billion IPv4 addresses are soon tried: without the key a name would give its address away.
_KEY = os.urandom(16)


def caller_of(peer: str) -> Caller:
    """Return the caller of a peer as `context.peer()` names it.

    `ipv4:10.0.0.7:4711` and `ipv6:%5B::1%5D:4711` (gRPC escapes the brackets) end in the port of
    the connection; a socket file (`unix:`), and whatever else there is, has none.
    """
    family, _, rest = peer.partition(":")
    if family not in {"ipv4", "ipv6"}:
        return (peer, "")
    host, _, port = rest.rpartition(":")
    return (f"{family}:{host}", port) if port.isdigit() else (peer, "")


def told_caller_of(peer: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> Caller:
    """Return the caller of a peer with whom it tells of; what is not a name is as good as none."""
    caller = caller_of(peer)
    told = next((value for key, value in metadata or () if key == CALLER_METADATA), None)
    if not isinstance(told, str):
        return caller
    address, dot, connection = told.partition(".")
    if not dot or not 0 < len(address) <= _LONGEST_NAME or len(connection) > _LONGEST_NAME:
        return caller
    return (*caller, address, connection)


def metadata_of(caller: Caller) -> tuple[tuple[str, str], ...]:
    """Return the metadata that tells of a caller without giving its address away."""
    address, connection = (_opaque(part) for part in (caller[0], " ".join(caller)))
    return ((CALLER_METADATA, f"{address}.{connection}"),)


def _opaque(text: str) -> str:
    return blake2b(text.encode(), key=_KEY, digest_size=8).hexdigest()
