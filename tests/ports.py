"""Loopback addresses, and ports for servers under test that nobody else takes before them."""

import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

# Below the range from which the kernel hands out ports (32768 and up): a program that is
# restarted finds its port free again, and nobody's outgoing connection takes it before the start.
_PORTS = range(20000, 32000)
# A server listens within seconds of being given its ports; they need no reservation after that.
_KEPT = 60
_kept: deque[ExitStack] = deque()


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Hold loopback ports that nobody listens on, and that no other caller is given."""
    with ExitStack() as held:
        yield _reserve(count, held)


def free_ports(count: int) -> list[int]:
    """Return such ports, held until this process has asked for many others or has ended."""
    held = ExitStack()
    _kept.append(held)
    if len(_kept) > _KEPT:
        _kept.popleft().close()
    return _reserve(count, held)


def loopback_addresses() -> list[str]:
    """Return 127.0.0.1 and ::1; in a container there may be no IPv6."""
    found = []
    for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with suppress(OSError), socket.socket(family) as probe:
            probe.bind((address, 0))
            found.append(address)
    return found


def _reserve(count: int, held: ExitStack) -> list[int]:
    candidates = random.SystemRandom().sample(_PORTS, len(_PORTS))
    free = (port for port in candidates if _lock(port, held) and _is_free(port))
    return list(itertools.islice(free, count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _lock(port: int, held: ExitStack) -> bool:
    # Two that start at once would both find the port free; the kernel drops a dead one's lock.
    folder = Path(tempfile.gettempdir()) / f"lumen-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    file = held.enter_context((folder / str(port)).open("a"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
