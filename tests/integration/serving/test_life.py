"""A model server's life: loading, overload, drain and death, as its callers live through it."""

import asyncio
import contextlib
import json
import signal
import socket
import time

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_servers import NOT_SERVING, SERVING, a_config, a_server
from tiny_models import TinyModel, a_jpeg, ignore_input, spoil_parity, write_model
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.progress import Progress
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

FAKE = {"LUMEN_BACKEND": "fake"}
# A warm-up of minutes: as good as a model that never finishes loading.
NEVER_WARM = {**FAKE, "LUMEN_FAKE_DELAY_MS": "20000"}


@pytest.fixture
def config(tiny_cache):
    return a_config(tiny_cache / "models" / "tiny-clip")


def a_request(number=1, task="image_embed"):
    # As a status: left to itself, a refusal is in-band where the half-close comes late.
    return pb.InferRequest(
        correlation_id=str(number),
        task=task,
        payload=a_jpeg(number),
        meta={"error_mode": "status"},
    )


def slow(delay_ms):
    return {**FAKE, "LUMEN_FAKE_DELAY_MS": str(delay_ms)}


def health_of(server, service):
    stub = health_pb2_grpc.HealthStub(server.channel(server.health_port))
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status


async def answer_or_code(stub, number, patience_s=30):
    """The code of the one answer of a stream of its own; OK when it holds a result."""
    try:
        call = stub.Infer(iter([a_request(number)]), timeout=patience_s)
        (answer,) = [answer async for answer in call]
    except grpc.aio.AioRpcError as error:
        return error.code(), dict(error.trailing_metadata() or ())
    assert not answer.HasField("error"), answer.error
    return grpc.StatusCode.OK, {}


@contextlib.asynccontextmanager
async def a_client_of(config, folder, env):
    """A server that serves, and a stub of it."""
    with a_server(config, folder, env) as server:
        await asyncio.to_thread(server.wait_for_health)
        async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(60):
            yield server, pb_grpc.InferenceStub(channel)


def with_server(config, **changes):
    changed = config.server.model_copy(update=changes)
    return config.model_copy(update={"server": changed})


async def until(condition, what):
    """Wait for something that happens in another process."""
    give_up_at = time.monotonic() + 60
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at, f"waited in vain until {what}"
        await asyncio.sleep(0.02)


def sample(server, name):
    return server.metrics().get(name, 0)


def came_in(server):
    """How many requests the server has taken so far, those included that are answered."""
    samples = server.metrics()
    return samples["lumen_inflight"] + summed(samples, "lumen_requests_total")


def summed(samples, name):
    """The sum of a metric's samples over all labels."""
    return sum(value for sample, value in samples.items() if sample.startswith(name))


def test_while_it_loads_the_port_is_open_and_says_so_until_sigterm_ends_it(config, tmp_path):
    with a_server(config, tmp_path, NEVER_WARM) as server:
        channel = server.channel()
        grpc.channel_ready_future(channel).result(timeout=20)
        stub = pb_grpc.InferenceStub(channel)
        errors = []
        for call in (
            lambda: stub.GetCapabilities(Empty(), timeout=20),
            lambda: list(stub.StreamCapabilities(Empty(), timeout=20)),
            lambda: stub.Health(Empty(), timeout=20),
            lambda: list(stub.Infer(iter([a_request()]), timeout=20)),
        ):
            with pytest.raises(grpc.RpcError) as error:
                call()
            errors.append((error.value.code(), error.value.details()))
        server.wait_for_health(NOT_SERVING)
        alive = [health_of(server, service) for service in ("", "liveness")]
        phase = server.status()["phase"]
        code = server.stop()

    assert {code for code, _ in errors} == {grpc.StatusCode.UNAVAILABLE}
    assert all("loading" in sentence for _, sentence in errors)
    assert alive == [SERVING, SERVING]
    assert phase == "loading"
    assert code == 0


def of_a_changed_file(folder):
    """A file that changed since it was verified."""
    root = write_model(folder / "source")
    config = a_config(root)
    fetch_and_verify(config, folder / "cache", folder, Progress())
    weights = root / "onnx" / "vision.fp32.onnx"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    return config, FAKE, False


def of_a_missing_device(folder):
    config = a_config(write_model(folder / "source"), accelerator="cuda")
    return config, {}, True


def of_wrong_vectors(folder):
    root = write_model(folder / "source")
    spoil_parity(root)
    return a_config(root), {}, True


def of_vectors_that_are_always_the_same(folder):
    """Without a golden set."""
    root = write_model(folder / "source", TinyModel(parity=False))
    ignore_input(root)
    return a_config(root), {}, True


def of_no_configuration(folder):
    config = a_config(write_model(folder / "source"))
    return config, {**FAKE, "LUMEN_CONFIG": str(folder / "nowhere.json")}, True


@pytest.mark.parametrize(
    ("start", "reasons", "words"),
    [
        (of_a_changed_file, {"ChecksumMismatch"}, "vision.fp32.onnx"),
        (of_a_missing_device, {"DeviceMismatch", "RuntimeUnavailable"}, "CUDA"),
        (of_wrong_vectors, {"ParityFailed"}, "vectors.npy"),
        (of_vectors_that_are_always_the_same, {"ParityFailed"}, "Different pictures have the same"),
        (of_no_configuration, {"InvalidSpec"}, "nowhere.json"),
    ],
)
def test_a_start_that_fails_ends_with_1_and_says_why_and_what_to_do(
    tmp_path, start, reasons, words
):
    config, env, verify = start(tmp_path)
    with a_server(config, tmp_path, env, verify=verify) as server:
        code = server.process.wait(60)
        said = json.loads(server.termination_log.read_text())

    assert code == 1
    assert said["reason"] in reasons
    assert words in said["message"] + said["file"]
    # Of a configuration, the message itself says what to look at.
    assert said["remedy"] or start is of_no_configuration


def test_a_port_that_is_taken_ends_with_1_and_is_named(config, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with a_server(config, tmp_path, {**FAKE, "LUMEN_GRPC_PORT": port}) as server:
            code = server.process.wait(60)
            message = json.loads(server.termination_log.read_text())

    assert code == 1
    assert port in message["message"]


async def test_overload_is_refused_at_once_with_the_time_to_come_back(config, tmp_path):
    config = with_server(config, max_queue=6)
    async with a_client_of(config, tmp_path, slow(200)) as (_, stub):
        outcomes = await asyncio.gather(*(answer_or_code(stub, n) for n in range(40)))
        after = await answer_or_code(stub, 1)

    codes = [code for code, _ in outcomes]
    pushbacks = [meta["grpc-retry-pushback-ms"] for code, meta in outcomes if meta]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) >= 6
    assert all(int(pushback) > 0 for pushback in pushbacks)
    assert after[0] is grpc.StatusCode.OK


async def test_a_deadline_that_cannot_be_met_is_refused_and_never_computed(config, tmp_path):
    config = with_server(config, max_batch_size=1)
    async with a_client_of(config, tmp_path, slow(1000)) as (server, stub):
        patient = [asyncio.create_task(answer_or_code(stub, n)) for n in range(10)]
        await until(lambda: came_in(server) == 10, "ten have come in")
        hasty, meta = await answer_or_code(stub, 11, patience_s=4)
        outcomes = await asyncio.gather(*patient)
        refused = sample(server, 'lumen_refused_total{bound="wait"}')

    assert hasty is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(meta["grpc-retry-pushback-ms"]) > 0
    assert refused == 1
    assert {code for code, _ in outcomes} == {grpc.StatusCode.OK}


async def test_a_caller_that_leaves_is_dropped_from_the_line_and_counted(config, tmp_path):
    config = with_server(config, max_batch_size=1)
    async with a_client_of(config, tmp_path, slow(500)) as (server, stub):
        staying = asyncio.create_task(answer_or_code(stub, 0))
        leaving = [stub.Infer(iter([a_request(n)])) for n in range(1, 21)]
        await until(lambda: came_in(server) == 21, "all have come in")
        for call in leaving:
            call.cancel()
        code, _ = await staying
        await until(lambda: sample(server, "lumen_inflight") == 0, "none is in flight")
        samples = server.metrics()
        dropped = samples["lumen_dropped_dead_total"]
        computed = summed(samples, "lumen_batch_size_sum")

    assert code is grpc.StatusCode.OK
    assert dropped > 0
    assert computed + dropped == 21


async def test_sigterm_answers_what_is_in_flight_and_ends_with_0(config, tmp_path):
    async with a_client_of(config, tmp_path, slow(500)) as (server, stub):
        calls = [asyncio.create_task(answer_or_code(stub, n)) for n in range(20)]
        await until(lambda: came_in(server) == 20, "all have come in")
        server.process.send_signal(signal.SIGTERM)
        outcomes = await asyncio.gather(*calls)
        code = await asyncio.to_thread(server.process.wait, 30)

    assert {code for code, _ in outcomes} == {grpc.StatusCode.OK}
    assert code == 0


async def test_health_says_not_serving_while_calls_are_still_answered(config, tmp_path):
    async with a_client_of(config, tmp_path, {**FAKE, "LUMEN_DRAIN_DELAY_S": "30"}) as (
        server,
        stub,
    ):
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for_health, NOT_SERVING)
        code, _ = await answer_or_code(stub, 1)
        alive = await asyncio.to_thread(health_of, server, "liveness")
        phase = server.status()["phase"]

    assert code is grpc.StatusCode.OK
    assert alive == SERVING
    assert phase == "stopping"


async def test_an_open_stream_without_requests_does_not_hold_up_the_end(config, tmp_path):
    async with a_client_of(config, tmp_path, {**FAKE, "LUMEN_GRACE_S": "300"}) as (server, stub):
        call = stub.Infer()
        await call.write(a_request(1))
        first = await call.read()
        server.process.send_signal(signal.SIGTERM)
        rest = await call.read()
        stream_code = await call.code()
        code = await asyncio.to_thread(server.process.wait, 30)

    assert first.correlation_id == "1"
    assert rest is grpc.aio.EOF
    assert stream_code is grpc.StatusCode.OK
    assert code == 0


async def announced(service_type, wait_ms):
    """The port under which a server that is called attic-aaaabbbb is announced, if it is."""
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
    try:
        info = AsyncServiceInfo(service_type, f"attic-aaaabbbb.{service_type}")
        return info.port if await info.async_request(zeroconf.zeroconf, wait_ms) else None
    finally:
        await zeroconf.async_close()


@pytest.mark.parametrize("service_type", ["_lumen._tcp.local.", "_homenative-node._tcp.local."])
async def test_a_server_is_announced_only_while_it_serves(tiny_cache, tmp_path, service_type):
    mdns = {"name": "attic", "uuid": "aaaabbbb", "type": service_type}
    config = a_config(tiny_cache / "models" / "tiny-clip", mdns=mdns)
    with a_server(config, tmp_path / "loading", NEVER_WARM) as server:
        await asyncio.to_thread(server.wait_for_health, NOT_SERVING)
        while_loading = await announced(service_type, 300)
    with a_server(config, tmp_path / "ready", {**FAKE, "LUMEN_DRAIN_DELAY_S": "300"}) as server:
        await asyncio.to_thread(server.wait_for_health)
        while_serving, port = await announced(service_type, 10_000), server.grpc_port
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: "withdrawn" in server.log(), "the announcement is withdrawn")
        while_draining = await announced(service_type, 300)

    assert (while_loading, while_serving, while_draining) == (None, port, None)
