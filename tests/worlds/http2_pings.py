"""A client that speaks just enough HTTP/2 to hold a connection open and ping.

gRPC's own clients throttle their pings; this one sends what it is told to, and sees a GOAWAY.
"""

import socket
import struct
import time
from typing import Self

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY = 4, 6, 7
_ACK = 1
_WAIT_S = 60.0


class GoneAway(Exception):
    """The server ended the connection; the text is its reason."""


class PingingClient:
    """One idle connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_WAIT_S)
        self._received = b""
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ping(self) -> None:
        """Send one ping without waiting."""
        self._socket.sendall(_frame(_PING, 0, b"lumenping"[:8]))

    def wait_for_pong(self) -> None:
        """Return when a ping is acknowledged; raises GoneAway."""
        while True:
            kind, flags = self._next_frame(_WAIT_S)
            if kind == _PING and flags & _ACK:
                return

    def stay_idle(self, seconds: float) -> None:
        """Watch the connection for so long; raises GoneAway when the server ends it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self._next_frame(left)
            except TimeoutError:
                return

    def _next_frame(self, timeout_s: float) -> tuple[int, int]:
        self._socket.settimeout(timeout_s)
        head = self._take(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags = head[3], head[4]
        body = self._take(length)
        if kind == _GOAWAY:
            raise GoneAway(body[8:].decode("ascii", "replace"))
        if kind == _SETTINGS and not flags & _ACK:
            self._socket.sendall(_frame(_SETTINGS, _ACK, b""))
        return kind, flags

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            more = self._socket.recv(65536)
            if not more:
                raise GoneAway("the connection was closed")
            self._received += more
        taken, self._received = self._received[:count], self._received[count:]
        return taken


def _frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + bytes(4) + body
