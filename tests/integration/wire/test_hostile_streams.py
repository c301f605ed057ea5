"""What connections and streams may cost whoever sends no more than half of what it announces."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from http2_raw import RawConnection, grpc_message
from wire_servers import (
    MIB,
    WAIT_S,
    Script,
    a_script_server,
    a_text,
    answers,
    listening,
    status_of,
    until,
)

from lumen_wire.request.chunks import ChunkLimits
from lumen_wire.server.grpc_server import ServerOptions, build_health_server
from lumen_wire.server.health import HealthBoard
from lumen_wire.server.open_streams import OpenStreams
from lumen_wire.server.stream import StreamOptions

INFERENCE = "/home_native.v1.Inference/"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WINDOW = 65_536
SERVING = health_pb2.HealthCheckResponse.SERVING


@contextlib.asynccontextmanager
async def a_raw_connection(port: int) -> AsyncIterator[RawConnection]:
    connection = await RawConnection.open(port, WINDOW - 1)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def attacked(
    script: Script | None = None,
) -> AsyncIterator[tuple[grpc.aio.Channel, Any, RawConnection]]:
    """Serve a script; yield a good client's channel and stub, and another's raw connection."""
    async with (
        a_script_server(script or Script()) as (channel, stub, port),
        a_raw_connection(port) as connection,
        asyncio.timeout(WAIT_S),
    ):
        yield channel, stub, connection


@contextlib.asynccontextmanager
async def sending(
    connection: RawConnection, path: str, count: int, size: int
) -> AsyncIterator[list[int]]:
    """Send so many messages of that size, each without its last byte."""
    streams = [connection.begin(path) for _ in range(count)]
    body = grpc_message(bytes(size - 1), size=size)
    tasks = [asyncio.create_task(connection.send(stream, body)) for stream in streams]
    try:
        yield streams
    finally:
        for task in tasks:
            task.cancel()


def a_script(streams: OpenStreams, **options) -> Script:
    return Script(StreamOptions(half_close_grace_s=2.0, streams=streams, **options))


@pytest.mark.parametrize("call", ["GetCapabilities", "StreamCapabilities", "Health"])
async def test_a_call_without_input_is_answered_and_invites_none(call):
    async with (
        attacked() as (_, _, connection),
        sending(connection, INFERENCE + call, 1, 10 * MIB) as [stream],
    ):
        await connection.wait_closed([stream])

        assert b"grpc-status\x010" in connection.received[stream]
        assert connection.invited[stream] <= WINDOW


@pytest.mark.parametrize("path", [HEALTH + "Check", HEALTH + "Watch", REFLECTION])
async def test_of_many_small_requests_under_way_the_longest_give_way(path):
    async with (
        attacked() as (channel, _, connection),
        sending(connection, path, 40, 10 * MIB) as streams,
    ):
        await until(lambda: len(connection.closed) >= 24)
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())

        assert answer.status == SERVING
        assert len(set(streams) - connection.closed) <= 16


async def test_a_long_health_name_is_refused_and_an_unknown_one_is_not_kept():
    script = Script()
    async with a_script_server(script) as (channel, _, _):
        stub = health_pb2_grpc.HealthStub(channel)
        codes = []
        for length in (257, 5000):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await stub.Check(health_pb2.HealthCheckRequest(service="x" * length))
            codes.append(failure.value.code())
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=WAIT_S)
        first = (await watch.read()).status
        watch.cancel()

    assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 2
    assert first == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert set(script.board._shown) == {"", "liveness", "home_native.v1.Inference"}


async def test_a_message_of_thousands_of_fields_fails_alone_and_by_its_name():
    meta = {str(key): "" for key in range(5000)}
    async with a_script_server(Script()) as (_, stub, _):
        requests = [a_text(correlation_id="fat", meta=meta), a_text(correlation_id="good")]
        by_name = {answer.correlation_id: answer for answer in await answers(stub, requests)}

    assert "fields" in by_name["fat"].error.message
    assert not by_name["good"].HasField("error")


async def test_of_too_many_watches_the_oldest_gives_way():
    async with a_script_server(Script()) as (channel, _, _), asyncio.timeout(WAIT_S):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = []
        for _ in range(65):
            watches.append(stub.Watch(health_pb2.HealthCheckRequest()))
            assert (await watches[-1].read()).status == SERVING

        assert await watches[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not watches[1].done()
        for watch in watches:
            watch.cancel()


async def test_watches_of_one_address_never_end_those_of_another():
    name = grpc_message(health_pb2.HealthCheckRequest(service="x").SerializeToString())
    async with a_script_server(Script()) as (channel, _, port), asyncio.timeout(WAIT_S):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        connection = await RawConnection.open(port, source="127.0.0.2")
        streams = [connection.begin(HEALTH + "Watch") for _ in range(100)]
        for stream in streams:
            await connection.send(stream, name, end=True)
        # Their own give way: the eldest, in the order in which the server took them up.
        await connection.wait_closed(streams, some=36)

        assert not watch.done()
        watch.cancel()
        await connection.close()


async def test_the_health_port_takes_no_message_that_is_no_probe():
    await (board := HealthBoard()).set_serving()
    async with (
        listening(build_health_server(board)) as port,
        a_raw_connection(port) as connection,
        sending(connection, HEALTH + "Watch", 16, 10 * MIB) as streams,
        asyncio.timeout(WAIT_S),
    ):
        await connection.wait_closed(streams)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
        assert sum(connection.invited[stream] for stream in streams) < 2 * MIB


async def test_ten_mib_may_be_sent_whole_and_seventeen_only_in_parts():
    async with a_script_server(Script()) as (_, stub, _):
        [answer] = await answers(stub, [a_text(payload=bytes(10 * MIB))])
        code, _ = await status_of(stub, a_text(payload=bytes(17 * MIB)))

    assert answer.result == str(10 * MIB).encode()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_connection_may_have_some_hundred_streams():
    async with attacked() as (_, _, connection):
        assert 100 <= connection.max_streams <= 512


async def test_a_stream_that_is_not_read_invites_one_window():
    """As many requests as may be in flight are: what comes next is left with its sender."""
    script = Script(StreamOptions(limits=ChunkLimits(), max_in_flight=1))
    async with attacked(script) as (_, _, connection):
        stream = connection.begin(INFERENCE + "Infer")
        await connection.send(stream, grpc_message(a_text("hold").SerializeToString()))
        await script.begun.acquire()
        more = grpc_message(bytes(8 * MIB))
        sent = asyncio.create_task(connection.send(stream, more))
        # A round trip on the same connection: the server has seen all that it invited.
        other = connection.begin(INFERENCE + "Health")
        await connection.wait_closed([other])
        sent.cancel()

        assert connection.invited[stream] < 2 * WINDOW


async def test_what_is_compressed_is_not_inflated():
    async with attacked() as (_, _, connection):
        stream = connection.begin(INFERENCE + "Infer", ("grpc-encoding", "gzip"))
        bomb = gzip.compress(a_text(payload=bytes(15 * MIB)).SerializeToString())
        await connection.send(stream, grpc_message(bomb, compressed=True), end=True)
        await connection.wait_closed([stream])

        assert b"not an InferRequest" in connection.received[stream]


async def test_an_idle_stream_that_gives_way_ends_well():
    streams = OpenStreams()
    async with a_script_server(a_script(streams)) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text())
        assert (await call.read()).result == b"5"
        # The answer is here a moment before the stream is done with it.
        await until(lambda: not any(stream.busy for stream in streams._open))
        await until(lambda: streams.end_waiting(1))

        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_half_sent_messages_give_way_with_a_status_and_a_good_call_goes_on():
    streams = OpenStreams()
    script = a_script(streams)
    async with (
        attacked(script) as (_, stub, connection),
        sending(connection, INFERENCE + "Infer", 32, 16 * MIB) as halves,
    ):
        await until(lambda: len(streams) == 32)
        good = stub.Infer()
        await good.write(a_text("hold"))
        await script.begun.acquire()
        assert streams.end_waiting(32) == 32
        await connection.wait_closed(halves)
        script.release.set()

        assert (await good.read()).result == b"5"
        assert all(b"grpc-status\x018" in connection.received[one] for one in halves)
        good.cancel()


async def test_what_is_under_way_on_a_stream_that_gives_way_is_cancelled():
    streams = OpenStreams()
    script = a_script(streams)
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("hold"))
        await script.begun.acquire()
        await until(lambda: streams.end_waiting(1))
        await script.cancelled.acquire()

        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "Try again" in await call.details()


class Counted(OpenStreams):
    """Counts who has come, whether they are still here or not."""

    entered = 0

    def enter(self, stream):
        super().enter(stream)
        self.entered += 1


async def test_with_every_place_taken_a_new_stream_is_answered():
    streams = Counted(8)
    async with attacked(a_script(streams)) as (_, stub, connection):
        for _ in range(20):
            connection.begin(INFERENCE + "Infer")
        await until(lambda: streams.entered == 20)
        good = [await answers(stub, [a_text()]) for _ in range(3)]

        assert [one.result for [one] in good] == [b"5"] * 3
        assert len(streams) <= 8


async def test_a_connection_too_many_and_one_that_says_nothing_are_closed():
    options = ServerOptions(max_connections=3, handshake_s=0.3)
    async with a_script_server(Script(), options) as (_, stub, port), asyncio.timeout(WAIT_S):
        await stub.Health(empty_pb2.Empty())
        silent, writer = await asyncio.open_connection("127.0.0.1", port)
        async with a_raw_connection(port) as second, a_raw_connection(port) as third:
            assert not second.ended.is_set()
            await third.ended.wait()
            while await silent.read(1000):
                pass
        writer.close()
