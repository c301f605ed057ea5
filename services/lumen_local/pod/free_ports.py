"""Ports of this machine: free ones for pods, and a sentence when the one asked for is taken."""

import importlib
import socket
from typing import Any

from lumen_local.errors import NotOurAddress, PortBusy
from lumen_local.pod.pod_env import PodPorts
from lumen_process.addresses import NO_SUCH_ADDRESS

_ADDRESSES = "Use 127.0.0.1 for callers on this machine, or 0.0.0.0 for those on others too."


class FreePorts:
    """Hands out free ports, none twice in a run.

    Between this look and the server's own bind somebody else may take a port: the server then ends,
    and its next start gets fresh ones.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._given: set[int] = set()

    def take(self, grpc: int | None = None) -> PodPorts:
        """Return three different free ports; `grpc` fixes the first."""
        return PodPorts(grpc=grpc or self._one(), health=self._one(), metrics=self._one())

    def reserve(self, port: int) -> None:
        """Never hand out this port."""
        self._given.add(port)

    def _one(self) -> int:
        while True:
            with socket.socket(_family(self._host)) as probe:
                probe.bind((self._host, 0))
                port = int(probe.getsockname()[1])
            if port not in self._given:
                self._given.add(port)
                return port


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    with socket.socket(_family(host)) as probe:
        try:
            _listen(probe, host, port)
        except OSError:
            return False
        return True


def check_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0. Raises NotOurAddress or PortBusy with what to do."""
    if not host:
        raise NotOurAddress(f"The address to listen on is empty. {_ADDRESSES}")
    with socket.socket(_family(host)) as probe:
        try:
            _listen(probe, host, port)
        except PermissionError:
            raise PortBusy(
                f"Port {port} needs privileges. Use one above 1023: --port 50051"
            ) from None
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno in NO_SUCH_ADDRESS:
                raise NotOurAddress(f"This machine has no address {host}. {_ADDRESSES}") from error
            holder = _holder(port)
            raise PortBusy(
                f"Port {port} on {host} cannot be used: "
                + (
                    f"{holder} listens there. Stop it, or "
                    if holder
                    else f"{error.strerror}. You can "
                )
                + f"choose another port: --port {port + 1 if port < 65535 else port - 1}"
            ) from error
        return int(probe.getsockname()[1])


def _listen(probe: socket.socket, host: str, port: int) -> None:
    """Listen as a server would; raises OSError when it could not.

    gRPC binds with SO_REUSEPORT, which would let two servers share a port in silence; this bind
    does without, so that it fails. SO_REUSEADDR only forgives closed connections.
    """
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((host, port))
    probe.listen(1)


def _holder(port: int) -> str:
    """Say who listens on the port, as far as this user may know."""
    # Only a refusal needs it: a tenth of a second that a good start does not pay.
    psutil: Any = importlib.import_module("psutil")
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return "another program"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port:
            return _process_name(psutil, connection.pid)
    return ""


def _process_name(psutil: Any, pid: int | None) -> str:
    if pid is None:
        return "another user's program"
    try:
        return f"{' '.join(psutil.Process(pid).cmdline()[:4])} (pid {pid})"
    except psutil.Error:
        return f"process {pid}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
