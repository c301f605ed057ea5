"""The gRPC server around the servicer: names, reflection, health, pings, ports, counts."""

import asyncio

import grpc
import pytest
from google.protobuf import descriptor_pool, empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from http2_raw import GoneAway, RawConnection
from ports import loopback_addresses
from wire_servers import WAIT_S, Script, a_script_server, a_text, answers, listening, status_of

from lumen_process.addresses import host_port
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.server.grpc_server import (
    PortUnavailable,
    ServerOptions,
    bind,
    build_health_server,
    build_server,
)
from lumen_wire.server.health import HealthBoard

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
EMPTY = empty_pb2.Empty()
INFERENCE = "home_native.v1.Inference"


def reflected(port: int) -> tuple[set[str], list[str]]:
    """Ask as tools do: which services there are, and what the old name can do."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        old = pool.FindServiceByName("inference.Inference")
        return set(database.get_services()), [f"{m.name} {m.input_type.name}" for m in old.methods]


async def test_reflection_lists_both_names_and_describes_the_older():
    async with a_script_server(Script()) as (_, _, port):
        names, methods = await asyncio.to_thread(reflected, port)

    assert names == {
        "home_native.v1.Inference",
        "inference.Inference",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert methods == [
        "Infer InferRequest",
        "GetCapabilities Empty",
        "StreamCapabilities Empty",
        "Health Empty",
    ]


async def test_the_older_service_name_gives_the_same_answers():
    async with a_script_server(Script()) as (channel, stub, _):
        old = channel.unary_unary(
            "/inference.Inference/GetCapabilities",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=pb.Capability.FromString,
        )
        infer = channel.stream_stream(
            "/inference.Inference/Infer",
            request_serializer=pb.InferRequest.SerializeToString,
            response_deserializer=pb.InferResponse.FromString,
        )

        assert await old(EMPTY) == await stub.GetCapabilities(EMPTY)
        assert [r async for r in stub.StreamCapabilities(EMPTY)] == [await old(EMPTY)]
        assert [r.result async for r in infer(iter([a_text()]))] == [b"5"]


async def test_what_is_sent_where_nothing_is_asked_for_is_ignored():
    async with a_script_server(Script()) as (channel, _, _):
        call = channel.unary_unary(
            f"/{INFERENCE}/GetCapabilities", response_deserializer=pb.Capability.FromString
        )

        assert (await call(b"\xff\xff")).service_name == "script"


async def health_of(channel: grpc.aio.Channel) -> dict[str, int]:
    stub = health_pb2_grpc.HealthStub(channel)
    names = ("", "liveness", INFERENCE)
    return {n: (await stub.Check(health_pb2.HealthCheckRequest(service=n))).status for n in names}


async def test_liveness_says_that_the_process_lives_and_the_service_that_it_serves():
    script = Script()
    async with a_script_server(script) as (channel, _, _):
        await script.board.set_loading()
        loading = await health_of(channel)
        await script.board.set_serving()
        serving = await health_of(channel)
        await script.board.set_stopping()
        stopping = await health_of(channel)

    alive = {"": SERVING, "liveness": SERVING}
    assert loading == {**alive, INFERENCE: NOT_SERVING}
    assert serving == {**alive, INFERENCE: SERVING}
    assert stopping == {**alive, INFERENCE: NOT_SERVING}


async def test_a_watcher_of_health_hears_of_every_change():
    script = Script()
    async with a_script_server(script) as (channel, _, _), asyncio.timeout(WAIT_S):
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=INFERENCE))
        assert (await watch.read()).status == SERVING
        await script.board.set_stopping()
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()


async def test_while_the_model_loads_every_call_is_unavailable_with_the_reason():
    script = Script()
    async with a_script_server(script) as (_, stub, _):
        await script.board.set_loading("demo-clip is loading (verifying weights).")
        for call in (stub.GetCapabilities(EMPTY), stub.Health(EMPTY)):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
            assert failure.value.details() == "demo-clip is loading (verifying weights)."
        code, details = await status_of(stub, a_text())
        assert code is grpc.StatusCode.UNAVAILABLE, details
        listing = stub.StreamCapabilities(EMPTY)
        assert await listing.code() is grpc.StatusCode.UNAVAILABLE


async def test_while_stopping_health_says_no_and_requests_on_their_way_are_answered():
    script = Script()
    async with a_script_server(script) as (_, stub, _):
        await script.board.set_stopping()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Health(EMPTY)

        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(await answers(stub, [a_text()])) == 1


async def test_the_health_server_shows_the_same_board_and_nothing_else():
    board = HealthBoard()
    await board.set_serving()
    async with (
        listening(build_health_server(board)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert (await health_of(channel))[INFERENCE] == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary(f"/{INFERENCE}/GetCapabilities")(b"")
        assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_nothing_serves_on_any_address_of_both_families_before_the_process_says_so():
    script = Script()
    async with listening(build_server(script, script.board), "0.0.0.0") as port:
        for address in loopback_addresses():
            async with grpc.aio.insecure_channel(host_port(address, port)) as channel:
                assert set((await health_of(channel)).values()) == {NOT_SERVING}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_port_in_use_is_named_in_the_error(host):
    async with a_script_server(Script()) as (_, _, port):
        with pytest.raises(PortUnavailable, match=f"Cannot listen on port {port} of {host}"):
            bind(build_health_server(HealthBoard()), host, port)


async def test_an_address_that_is_not_of_this_machine_is_refused_with_the_reason():
    with pytest.raises(PortUnavailable, match=r"192\.0\.2\.1"):
        bind(build_health_server(HealthBoard()), "192.0.2.1", 0)


class Counts:
    def __init__(self) -> None:
        self.calls: list[tuple[str, grpc.StatusCode]] = []

    def call_done(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        self.calls.append((method, code))


async def test_every_call_is_counted_once_with_its_code():
    counts = Counts()
    async with a_script_server(Script(), metrics=counts) as (_, stub, _):
        await stub.Health(EMPTY)
        await status_of(stub, a_text("bad"))
        await answers(stub, [a_text()])

    assert counts.calls == [
        ("Health", grpc.StatusCode.OK),
        ("Infer", grpc.StatusCode.INVALID_ARGUMENT),
        ("Infer", grpc.StatusCode.OK),
    ]


async def ping_often(port: int, count: int, every_s: float) -> None:
    """Ping so many times from an otherwise idle connection."""
    connection = await RawConnection.open(port)
    try:
        for _ in range(count):
            await connection.stay_idle(every_s)
            await connection.ping()
        await connection.stay_idle(every_s)
    finally:
        await connection.close()


async def test_an_idle_client_may_ping_at_the_permitted_interval_without_a_goaway():
    """The permitted interval, scaled down; tests/bench/idle_pings.py runs 10 s for two minutes."""
    assert ServerOptions().min_ping_interval_s <= 5
    options = ServerOptions(min_ping_interval_s=0.1)
    async with a_script_server(Script(), options) as (_, _, port):
        await ping_often(port, 12, 0.15)


async def test_a_client_that_pings_far_more_often_is_sent_away():
    async with a_script_server(Script()) as (_, _, port):
        with pytest.raises(GoneAway, match="too_many_pings"):
            await ping_often(port, 12, 0.01)


async def test_an_aged_connection_is_told_to_go_and_its_streams_may_finish():
    script = Script()
    options = ServerOptions(max_connection_age_s=0.3)
    async with a_script_server(script, options) as (_, stub, port), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("hold"))
        await script.begun.acquire()
        with pytest.raises(GoneAway, match="max_age"):
            await ping_often(port, 1, 20.0)
        script.release.set()

        assert (await call.read()).result == b"5"
        call.cancel()
