"""A small HTTP server in a thread: /metrics and /status of a process.

For probes and scrapes only: GET and HEAD, a handful of connections at a time, no TLS.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self

import structlog

from lumen_wire.addresses import NO_SUCH_ADDRESS

# Each means every address of either family, as it does to gRPC: a pod may have only the other one.
_WILDCARDS = ("0.0.0.0", "::")

# (content type, body)
Route = Callable[[], tuple[str, bytes]]

_MOST_CONNECTIONS = 16
_TIMEOUT_S = 10.0


class Unwell(Exception):
    """Raised by a route to answer 503; the message is the body."""


_log = structlog.get_logger("lumen.http_status")


class HttpStatus:
    """A running server; close it, or use it as a context manager."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http-status"
        )
        self._thread.daemon = True
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening; returns when the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_http_status(host: str, port: int, routes: Mapping[str, Route]) -> HttpStatus:
    """Serve `routes` (path -> what to answer) on `host:port`; port 0 takes any free one.

    Raises OSError whose message names the port when it cannot be listened on.
    """
    try:
        return HttpStatus(_listening(host.strip("[]"), port, routes))
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot listen on port {port} of {host} for /metrics and /status"
            f" ({error.strerror}). Stop the process that uses it or choose another port.",
        ) from error


def _listening(host: str, port: int, routes: Mapping[str, Route]) -> "_Server":
    if host not in _WILDCARDS:
        return _Server((host, port), routes)
    if socket.has_dualstack_ipv6():
        try:
            return _Server(("::", port), routes)
        except OSError as error:
            # The kernel can speak IPv6, and this machine may have it turned off.
            if error.errno not in NO_SUCH_ADDRESS:
                raise
    return _Server(("0.0.0.0", port), routes)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    # Two servers must not share a port in silence; TIME_WAIT must not keep one from starting.
    allow_reuse_address = True
    allow_reuse_port = False

    def __init__(self, address: tuple[str, int], routes: Mapping[str, Route]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.routes = routes
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, for both families where the address is the wildcard."""
        if self.server_address[0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not the HTTP server's own: it asks the name service for its name, which may take seconds.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the connection to a thread, or close it when too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what failed; a client that went away is no failure."""
        del request, client_address
        _log.debug("status request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S
    server_version = "lumen"
    sys_version = ""

    def do_GET(self) -> None:
        route = self.server.routes.get(self.path.partition("?")[0])
        if route is None:
            known = ", ".join(sorted(self.server.routes))
            self._send(HTTPStatus.NOT_FOUND, "text/plain", f"Ask for: {known}\n".encode())
            return
        try:
            content_type, body = route()
        except Unwell as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error}\n".encode())
            return
        self._send(HTTPStatus.OK, content_type, body)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name upstream)
        _log.debug("status request", line=format % args)
