"""What a hostile client does with connections and streams: one coroutine for each shape.

    python tests/fuzz/stream_attacks.py SHAPE ATTACKERS GRPC_PORT HEALTH_PORT METRICS_PORT

`attack_streams.py` runs this as a process, so that it does not slow the good client, and ends it.
Each coroutine is one attacker of several; it comes again when it is sent away.
"""

import asyncio
import contextlib
import functools
import gzip
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # under pytest, tests/conftest.py makes this importable
    sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))

from http2_raw import (
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    RawConnection,
    frame,
    grpc_message,
    header_block,
)

MIB = 1 << 20
INFER = "/home_native.v1.Inference/Infer"
CAPABILITIES = "/home_native.v1.Inference/GetCapabilities"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@dataclass(frozen=True)
class Ports:
    grpc: int
    health: int
    metrics: int


Attack = Callable[[Ports], Awaitable[None]]


@contextlib.asynccontextmanager
async def a_connection(port: int, **options: int) -> AsyncIterator[RawConnection]:
    """Hold a connection, and close it at the end."""
    connection = await RawConnection.open(port, **options)
    try:
        yield connection
    finally:
        await connection.close()


async def half_sent(path: str, streams: int, size: int, ports: Ports) -> None:
    """Send messages that lack their last byte, and begin anew when they are ended."""
    async with a_connection(ports.grpc) as connection:
        body = grpc_message(bytes(size - 1), size=size)

        async def one() -> None:
            while not connection.ended.is_set():
                stream = connection.begin(path)
                await connection.send(stream, body)
                await connection.wait_closed([stream])
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(streams):
                tasks.create_task(one())


async def named(at: str, name_bytes: int, streams: int, ports: Ports) -> None:
    """Ask for the health of names nobody has, all at once and for ever."""
    async with a_connection(getattr(ports, at)) as connection:
        length = b"\x0a" + _varint(name_bytes)
        while not connection.ended.is_set():
            numbers = [connection.begin(WATCH) for _ in range(streams)]
            async with asyncio.TaskGroup() as tasks:
                for number in numbers:
                    name = f"{number:08}".encode() + b"x" * (name_bytes - 8)
                    tasks.create_task(connection.send(number, grpc_message(length + name)))
            await connection.wait_closed(numbers)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes((*out, value))


async def many_streams(ports: Ports) -> None:
    """Open streams and say nothing on them."""
    async with a_connection(ports.grpc) as connection:
        while not connection.ended.is_set():
            numbers = [connection.begin(INFER) for _ in range(connection.max_streams)]
            await connection.wait_closed(numbers)


async def rapid_reset(ports: Ports) -> None:
    async with a_connection(ports.grpc) as connection:
        while not connection.ended.is_set():
            for _ in range(100):
                stream = connection.begin(INFER)
                connection.cancel(stream)
            await connection.flush()


async def compressed_bombs(ports: Ports) -> None:
    async with a_connection(ports.grpc) as connection:
        bomb = grpc_message(gzip.compress(bytes(15 * MIB)), compressed=True)
        while not connection.ended.is_set():
            streams = [connection.begin(INFER, ("grpc-encoding", "gzip")) for _ in range(16)]
            for stream in streams:
                await connection.send(stream, bomb)
            await connection.wait_closed(streams)


async def slow_readers(ports: Ports) -> None:
    """Ask for much and take nothing: a window of 0 for every answer."""
    async with a_connection(ports.grpc, window=0) as connection:
        while not connection.ended.is_set():
            streams = [connection.begin(INFER) for _ in range(16)]
            for stream in streams:
                for number in range(8):
                    await connection.send(stream, grpc_message(_text_request(number)))
            await connection.wait_closed(streams)


def _text_request(number: int) -> bytes:
    task, payload, mime = b"clip_text_embed", b"a cat", b"text/plain"
    fields = ((1, str(number).encode()), (2, task), (3, payload), (5, mime))
    return b"".join(bytes((tag << 3 | 2, len(value))) + value for tag, value in fields)


@functools.cache
def _message_of_many_fields() -> bytes:
    return grpc_message(
        b"".join(
            b"\x22\x05\x0a\x03" + bytes((key >> 14 & 127, key >> 7 & 127, key & 127))
            for key in range(1_000_000)
        )
    )


async def many_fields(ports: Ports) -> None:
    """Send messages of a million tiny entries of meta, which are costly to read."""
    async with a_connection(ports.grpc) as connection:
        while not connection.ended.is_set():
            stream = connection.begin(INFER)
            await connection.send(stream, _message_of_many_fields(), end=True)
            await connection.wait_closed([stream])


async def ping_flood(ports: Ports) -> None:
    async with a_connection(ports.grpc) as connection:
        pings = frame(PING, 0, 0, bytes(8)) + frame(SETTINGS, 0, 0, b"")
        while not connection.ended.is_set():
            connection.write(pings * 100)
            await connection.flush()


async def endless_headers(ports: Ports) -> None:
    """Begin a header block and never end it."""
    async with a_connection(ports.grpc) as connection:
        more = header_block(INFER, ("x-more", "x" * 8000))
        continuation = 9
        connection.write(frame(HEADERS, 0, 1, header_block(INFER)))
        while not connection.ended.is_set():
            connection.write(frame(continuation, 0, 1, more))
            await connection.flush()


async def silent(at: str, count: int, hello: bytes, ports: Ports) -> None:
    """Hold connections, say `hello` and no more; come again when sent away."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", getattr(ports, at))
                writer.write(hello)
                while await reader.read(65536):
                    pass
                writer.close()
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(one())


async def slow_at_the_pages(ports: Ports) -> None:
    """Send a request a byte at a time, so that no single read takes long."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", ports.metrics)
                for byte in b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 10_000:
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(one())


async def endless_headers_at_the_pages(ports: Ports) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", ports.metrics)
            writer.write(b"GET /metrics HTTP/1.1\r\n")
            while not writer.is_closing():
                writer.write(b"x: " + b"y" * 8000 + b"\r\n")
                await writer.drain()
        await asyncio.sleep(0.01)


HELLO = PREFACE + frame(SETTINGS, 0, 0, b"")
GRPC_SHAPES: dict[str, Attack] = {
    "half_messages": partial(half_sent, INFER, 32, 16 * MIB),
    "many_small_halves": partial(half_sent, INFER, 128, 300_000),
    "half_health_names": partial(half_sent, WATCH, 60, 10 * MIB),
    "half_empty_calls": partial(half_sent, CAPABILITIES, 60, 10 * MIB),
    "half_reflection": partial(half_sent, REFLECTION, 60, 10 * MIB),
    "big_health_names": partial(named, "grpc", 10 * MIB, 60),
    "big_names_at_the_health_port": partial(named, "health", 10 * MIB, 16),
    "many_watches": partial(named, "grpc", 64, 400),
    "many_streams": many_streams,
    "rapid_reset": rapid_reset,
    "compressed_bombs": compressed_bombs,
    "slow_readers": slow_readers,
    "many_fields": many_fields,
    "ping_flood": ping_flood,
    "endless_headers": endless_headers,
    "silent_connections": partial(silent, "grpc", 100, b""),
    "idle_connections": partial(silent, "grpc", 100, HELLO),
    "silent_at_the_health_port": partial(silent, "health", 25, b""),
}
PAGE_SHAPES: dict[str, Attack] = {
    "silent_at_the_pages": partial(silent, "metrics", 25, b""),
    "slow_at_the_pages": slow_at_the_pages,
    "endless_headers_at_the_pages": endless_headers_at_the_pages,
}
SHAPES = GRPC_SHAPES | PAGE_SHAPES


async def attack(shape: str, ports: Ports, attackers: int) -> None:
    """Run so many attackers of one shape until cancelled; who is sent away comes again."""

    async def one() -> None:
        while True:
            try:
                await SHAPES[shape](ports)
            except* OSError:
                pass
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(attackers):
            tasks.create_task(one())


if __name__ == "__main__":
    sys.stdout.write("attacking\n")
    sys.stdout.flush()
    asyncio.run(attack(sys.argv[1], Ports(*map(int, sys.argv[3:])), int(sys.argv[2])))
