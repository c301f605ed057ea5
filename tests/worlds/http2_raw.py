"""An HTTP/2 client that does what no gRPC client does: half messages, silent and endless streams.

gRPC's own clients throttle their pings; this one sends what it is told to, and sees a GOAWAY.
It keeps to the server's windows, since a server ends the connection of whoever does not.
"""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterable
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
_TABLE, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME = 1, 3, 4, 5
_DEFAULT_WINDOW = 65535
_CANCEL = 8
_PONG_WITHIN_S = 60.0


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body
    )


def grpc_message(body: bytes, *, compressed: bool = False, size: int | None = None) -> bytes:
    """A message as gRPC frames it; `size` is what the prefix claims, by default the truth."""
    return struct.pack(">BI", compressed, len(body) if size is None else size) + body


def header_block(path: str, *more: tuple[str, str]) -> bytes:
    """The headers of a gRPC call, written out: no table, no Huffman code."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "lumen"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    )
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, out = len(raw) - 127, bytearray((127,))
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes(out) + bytes((rest,)) + raw


class GoneAway(Exception):
    """The server ended the connection; the text is its reason."""


class RawConnection:
    """One connection. `ended` is set when the server has closed it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 1
        self._windows: dict[int, int] = {0: _DEFAULT_WINDOW}
        self._initial = _DEFAULT_WINDOW
        self._changed = asyncio.Event()
        self.max_streams = 0
        self.max_frame = 16384
        self.settled = asyncio.Event()
        self.ended = asyncio.Event()
        # Streams that the server has ended, by trailers or by a reset.
        self.closed: set[int] = set()
        self.received: dict[int, bytes] = {}
        # What each stream was invited to send, in all.
        self.invited: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._pongs = 0
        # Why the server wants this connection to end; its streams may go on until they are done.
        self._away = ""

    @classmethod
    async def open(
        cls, port: int, window: int = _DEFAULT_WINDOW, source: str = "127.0.0.1"
    ) -> Self:
        """Connect from the address `source`, say hello, and wait for the server's settings.

        `window` is how much of each answer this side takes before it has read some of it.
        """
        streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        self = cls(*streams)
        # No table of headers: then every status can be read where it comes.
        settings = struct.pack(">HIHI", _TABLE, 0, _INITIAL_WINDOW, window)
        self._writer.write(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._task = asyncio.create_task(self._listen())
        both = [asyncio.create_task(one.wait()) for one in (self.settled, self.ended)]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in both:
            one.cancel()
        return self

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def begin(self, path: str, *more: tuple[str, str]) -> int:
        """Open a stream and return its number."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self.invited[stream] = self._initial
        self.write(frame(HEADERS, END_HEADERS, stream, header_block(path, *more)))
        return stream

    def write(self, raw: bytes) -> None:
        """Send frames as they are."""
        if not self._writer.is_closing():
            self._writer.write(raw)

    async def send(self, stream: int, body: bytes, *, end: bool = False) -> bool:
        """Send a stream's bytes as the windows allow; False when the server ended it before."""
        at = 0
        while at < len(body):
            room = min(self._windows[stream], self._windows[0], self.max_frame, len(body) - at)
            if stream in self.closed or self.ended.is_set():
                return False
            if room <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._windows[stream] -= room
            self._windows[0] -= room
            self.write(frame(DATA, 0, stream, body[at : at + room]))
            at += room
            with contextlib.suppress(OSError):
                await self._writer.drain()
        if end:
            self.write(frame(DATA, END_STREAM, stream, b""))
        return not self.ended.is_set()

    async def flush(self) -> None:
        """Wait until the network has taken most of what was written."""
        with contextlib.suppress(OSError):
            await self._writer.drain()
        await asyncio.sleep(0)

    def cancel(self, stream: int) -> None:
        self.write(frame(RST_STREAM, 0, stream, struct.pack(">I", _CANCEL)))

    async def wait_closed(self, streams: Iterable[int], some: int | None = None) -> None:
        """Return when the server has ended these streams, or `some` of them, or the connection."""
        wanted = set(streams)
        count = len(wanted) if some is None else some
        while len(wanted & self.closed) < count and not self.ended.is_set():
            self._changed.clear()
            await self._changed.wait()

    async def ping(self) -> None:
        """Send one ping and return when it is acknowledged; raises GoneAway."""
        wanted = self._pongs + 1
        self.write(frame(PING, 0, 0, bytes(8)))
        async with asyncio.timeout(_PONG_WITHIN_S):
            await self._stay_until(lambda: self._pongs >= wanted)

    async def stay_idle(self, seconds: float) -> None:
        """Hold the connection for so long; raises GoneAway when the server ends it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stay_until(lambda: False)

    async def _stay_until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._away or self.ended.is_set():
                raise GoneAway(self._away or "the connection was closed")
            self._changed.clear()
            await self._changed.wait()

    async def _listen(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                body = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, body)
                self._changed.set()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended.set()
            self._changed.set()

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._settle(body)
            self.write(frame(SETTINGS, ACK, 0, b""))
            self.settled.set()
        elif kind == PING and flags & ACK:
            self._pongs += 1
        elif kind == PING:
            self.write(frame(PING, ACK, 0, body))
        elif kind == GOAWAY:
            self._away = body[8:].decode("ascii", "replace") or "no reason was given"
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(body, "big")
            self._windows[stream] = self._windows.get(stream, 0) + more
            self.invited[stream] = self.invited.get(stream, 0) + more
        elif kind == DATA:
            self.received[stream] = self.received.get(stream, b"") + body
            if body:
                update = struct.pack(">I", len(body))
                self.write(frame(WINDOW_UPDATE, 0, 0, update))
                self.write(frame(WINDOW_UPDATE, 0, stream, update))
        elif kind == HEADERS:
            self.received[stream] = self.received.get(stream, b"") + body
        if kind == RST_STREAM or (kind in {DATA, HEADERS} and flags & END_STREAM):
            self.closed.add(stream)

    def _settle(self, body: bytes) -> None:
        for at in range(0, len(body), 6):
            name, value = struct.unpack(">HI", body[at : at + 6])
            if name == _INITIAL_WINDOW:
                for stream in self._windows:
                    if stream:
                        self._windows[stream] += value - self._initial
                self._initial = value
            elif name == _MAX_FRAME:
                self.max_frame = value
            elif name == _MAX_STREAMS:
                self.max_streams = value
