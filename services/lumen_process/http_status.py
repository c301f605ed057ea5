"""A small HTTP server in a thread of its own: /metrics, /status and /healthz of a process.

For probes and scrapes only: GET and HEAD, a small request, one answer, no TLS. A connection has a
few seconds for all of it; where there are too many, the one that has taken longest is ended, so
that a new one always gets in. The thread has its own event loop: it answers when the process's
own stands still.
"""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import structlog

from lumen_process.addresses import NO_SUCH_ADDRESS

# Each means every address of either family, as it does to gRPC: a pod may have only the other one.
_WILDCARDS = ("0.0.0.0", "::")

# (content type, body)
Route = Callable[[], tuple[str, bytes]]

_LONGEST_HEAD_BYTES = 16 * 1024
_READ_BYTES = 4096
_BACKLOG = 128
_TEXT = "text/plain"
_METHODS = ("GET", "HEAD")


class Unwell(Exception):
    """Raised by a route to answer 503; the message is the body."""


_log = structlog.get_logger("lumen.http_status")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server spends on whoever comes."""

    most_connections: int = 64
    most_of_one_peer: int = 32
    # From the first byte of a connection to the last of its answer.
    whole_s: float = 10.0


class HttpStatus:
    """A running server; close it, or use it as a context manager."""

    def __init__(self, listener: socket.socket, server: "_Server") -> None:
        self.port = int(listener.getsockname()[1])
        """The port that is listened on."""
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(server.serve(listener))
        self._thread = threading.Thread(target=self._run, name="http-status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns when the thread has ended."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_http_status(
    host: str, port: int, routes: Mapping[str, Route], bounds: Bounds | None = None
) -> HttpStatus:
    """Serve `routes` (path -> what to answer) on `host:port`; port 0 takes any free one.

    Routes are called in the server's thread. Raises OSError whose message names the port when it
    cannot be listened on.
    """
    try:
        listener = _listening(host.strip("[]"), port)
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot listen on port {port} of {host} for /metrics and /status"
            f" ({error.strerror}). Stop the process that uses it or choose another port.",
        ) from error
    return HttpStatus(listener, _Server(routes, bounds or Bounds()))


def _listening(host: str, port: int) -> socket.socket:
    if host not in _WILDCARDS:
        return _bound(host, port)
    if socket.has_dualstack_ipv6():
        try:
            return _bound("::", port)
        except OSError as error:
            # The kernel can speak IPv6, and this machine may have it turned off.
            if error.errno not in NO_SUCH_ADDRESS:
                raise
    return _bound("0.0.0.0", port)


def _bound(host: str, port: int) -> socket.socket:
    # SO_REUSEADDR and not SO_REUSEPORT: two servers must not share a port in silence, and TIME_WAIT
    # must not keep one from starting.
    listener = socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        backlog=_BACKLOG,
        dualstack_ipv6=host == "::",
    )
    listener.setblocking(False)
    return listener


class _Server:
    """Accepts connections and has few of them at a time; on one event loop."""

    def __init__(self, routes: Mapping[str, Route], bounds: Bounds) -> None:
        self._routes = routes
        self._bounds = bounds
        self._open: dict[asyncio.Task[None], str] = {}  # to the peer; longest first

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(listener)
                except OSError:
                    # Too many open files, or a peer that left at once.
                    await asyncio.sleep(0.05)
                    continue
                self._make_room(address[0])
                task = loop.create_task(self._converse(connection))
                self._open[task] = address[0]
                task.add_done_callback(self._over)
                # Accepting never waits in a storm; those that are here already have their turn.
                await asyncio.sleep(0)
        finally:
            listener.close()
            for task in tuple(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("status page failed", exc_info=error)

    def _make_room(self, peer: str) -> None:
        """End the longest of a peer that has its share, or of the peer that has most."""
        held = Counter(self._open.values())
        if held[peer] < self._bounds.most_of_one_peer:
            if len(self._open) < self._bounds.most_connections:
                return
            peer = held.most_common(1)[0][0]
        longest = next(task for task, whose in self._open.items() if whose == peer)
        del self._open[longest]
        longest.cancel()

    async def _converse(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(self._bounds.whole_s):
                    head = await _read_head(connection)
                    if head:
                        await loop.sock_sendall(connection, self._answer(head))
                        await _hang_up(connection)
            except (OSError, TimeoutError):
                _log.debug("status request failed", exc_info=True)

    def _answer(self, head: bytes) -> bytes:
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if not head.endswith(b"\r\n\r\n"):
            too_long = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return _response(too_long, _TEXT, b"Send a shorter request.\n")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST, _TEXT, b"Speak HTTP/1.1.\n")
        method, target, _ = words
        if method not in _METHODS:
            return _response(HTTPStatus.NOT_IMPLEMENTED, _TEXT, b"Use GET or HEAD.\n")
        return _response(*self._page(target.partition("?")[0]), with_body=method == "GET")

    def _page(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        route = self._routes.get(path)
        if route is None:
            known = ", ".join(sorted(self._routes))
            return HTTPStatus.NOT_FOUND, _TEXT, f"Ask for: {known}\n".encode()
        try:
            return HTTPStatus.OK, *route()
        except Unwell as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{error}\n".encode()


async def _read_head(connection: socket.socket) -> bytes:
    """Return a request up to its empty line, what there is of one that is too long, or nothing."""
    loop = asyncio.get_running_loop()
    head = b""
    while len(head) <= _LONGEST_HEAD_BYTES:
        more = await loop.sock_recv(connection, _READ_BYTES)
        if not more:
            return b""
        head += more
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            return head[: end + 4]
    return head


async def _hang_up(connection: socket.socket) -> None:
    """Close so that the answer arrives: what is unread would make the kernel reset it."""
    connection.shutdown(socket.SHUT_WR)
    loop = asyncio.get_running_loop()
    for _ in range(_LONGEST_HEAD_BYTES // _READ_BYTES):
        if not await loop.sock_recv(connection, _READ_BYTES):
            break


def _response(
    status: HTTPStatus, content_type: str, body: bytes, *, with_body: bool = True
) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: lumen\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
