"""The router as a process: killed pods under load, signals, settings, memory."""

import asyncio
import signal
import socket
import subprocess
from collections import Counter
from contextlib import ExitStack

import grpc
import grpc.aio
import psutil
import pytest
import router_processes
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ports import free_ports
from router_processes import a_pod, write_routes
from router_world import BOUND_S, JPEG, ScriptedPod, a_service, a_world, until
from serving_servers import INFERENCE, NOT_SERVING, SERVING

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

TYPED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
RSS_MIB = 120


def a_router(folder, **changes):
    """A router of the folder's routes, whose words are read."""
    told = {"LUMEN_ROUTES_FILE": str(folder / "routes.json"), **changes}
    return router_processes.a_router(told, stderr=subprocess.PIPE)


async def health_becomes(port: int, wanted: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=INFERENCE)
        async for answer in stub.Watch(request, timeout=BOUND_S, wait_for_ready=True):
            if answer.status == wanted:
                return


async def ask(channel: grpc.aio.Channel) -> pb.InferResponse:
    call = pb_grpc.InferenceStub(channel).Infer(timeout=BOUND_S)
    await call.write(pb.InferRequest(task="image_embed", payload=JPEG, payload_mime="image/jpeg"))
    await call.done_writing()
    answer = await call.read()
    assert await call.read() is grpc.aio.EOF
    return answer


class Load:
    """Callers in a closed loop, and what became of every call."""

    def __init__(self, world, callers: int) -> None:
        self.codes: Counter = Counter()
        self._world = world
        self._done = asyncio.Event()
        self._callers = callers

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._done.set()
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while not self._done.is_set():
            try:
                await self._world.infer("image_embed")
            except grpc.aio.AioRpcError as error:
                self.codes[error.code()] += 1
            else:
                self.codes[grpc.StatusCode.OK] += 1

    async def goes_on(self, calls: int) -> None:
        """Return when that many more calls were answered well."""
        wanted = self.codes[grpc.StatusCode.OK] + calls
        await until(lambda: self.codes[grpc.StatusCode.OK] >= wanted, f"{calls} more calls")


@pytest.mark.parametrize("count", [3, 1], ids=["one-of-three", "the-only-one"])
async def test_a_pod_killed_under_load_loses_next_to_nothing_and_only_typed(tmp_path, count):
    ports = free_ports(count)
    with ExitStack() as stack:
        pods = [stack.enter_context(a_pod(port)) for port in ports]
        async with a_world(tmp_path) as world:
            await world.routed(a_service(), clip=[f"127.0.0.1:{port}" for port in ports])
            async with Load(world, callers=16) as load:
                for turn in range(2):
                    await load.goes_on(150)
                    victim = pods[turn % count]
                    victim.send_signal(signal.SIGKILL)
                    victim.wait()
                    # The process starts while the loop goes on: calls are made meanwhile.
                    fresh = await asyncio.to_thread(stack.enter_context, a_pod(ports[turn % count]))
                    pods[turn % count] = fresh
                    await until(lambda: world.ready() == {"clip": count}, "all pods ready again")
                    await load.goes_on(150)

    total, lost = load.codes.total(), load.codes.total() - load.codes[grpc.StatusCode.OK]
    print(f"{count} pods, 2 killed under load: {lost} of {total} calls lost, {dict(load.codes)}")
    assert set(load.codes) <= TYPED | {grpc.StatusCode.OK}
    assert lost <= total / 100


async def test_a_frozen_pod_is_left_by_its_calls_and_comes_back_when_it_thaws(tmp_path):
    ports = free_ports(2)
    with a_pod(ports[0]) as frozen, a_pod(ports[1]):
        async with a_world(tmp_path) as world:
            await world.routed(a_service(), clip=[f"127.0.0.1:{port}" for port in ports])
            await until(lambda: world.ready() == {"clip": 2}, "both pods ready")
            async with Load(world, callers=4) as load:
                frozen.send_signal(signal.SIGSTOP)
                await until(lambda: world.ready() == {"clip": 1}, "the frozen pod is left")
                await load.goes_on(50)
                frozen.send_signal(signal.SIGCONT)
                await until(lambda: world.ready() == {"clip": 2}, "both pods ready again")

    assert set(load.codes) == {grpc.StatusCode.OK}


async def test_sigterm_answers_what_is_in_flight_and_exits_with_0(tmp_path):
    async with ScriptedPod() as pod:
        opened = asyncio.Event()

        async def script(request, context):
            await opened.wait()
            return await pod.answer(request, context)

        pod.script = script
        write_routes(tmp_path, [a_service()], clip=[pod.port])
        with a_router(tmp_path) as (process, ports):
            await health_becomes(ports[1], SERVING)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
                call = asyncio.create_task(ask(channel))
                await until(lambda: pod.requests)

                process.send_signal(signal.SIGTERM)
                await health_becomes(ports[1], NOT_SERVING)
                opened.set()
                answer = await call

            code = await asyncio.to_thread(process.wait, BOUND_S)

    assert answer.meta["dim"] == "4"
    assert code == 0


async def test_an_open_idle_stream_does_not_hold_up_the_drain(tmp_path):
    async with ScriptedPod() as pod:
        write_routes(tmp_path, [a_service()], clip=[pod.port])
        with a_router(tmp_path, LUMEN_GRACE_S="600") as (process, ports):
            await health_becomes(ports[1], SERVING)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
                call = pb_grpc.InferenceStub(channel).Infer()
                await call.write(pb.InferRequest(task="embed", payload=b"a robin"))
                await call.read()

                process.send_signal(signal.SIGTERM)
                code = await asyncio.to_thread(process.wait, BOUND_S)

    assert code == 0


async def test_a_second_signal_ends_it_at_once(tmp_path):
    write_routes(tmp_path, [a_service()])
    with a_router(tmp_path, LUMEN_DRAIN_DELAY_S="600") as (process, ports):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[1]}") as channel:
            await asyncio.wait_for(channel.channel_ready(), BOUND_S)
            process.send_signal(signal.SIGTERM)
            while b"router drains" not in await asyncio.to_thread(process.stderr.readline):
                continue
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, BOUND_S)

    assert code == 128 + signal.SIGTERM


async def test_an_idle_router_is_small(tmp_path):
    async with ScriptedPod() as pod:
        write_routes(tmp_path, [a_service()], clip=[pod.port])
        with a_router(tmp_path) as (process, ports):
            await health_becomes(ports[1], SERVING)
            rss_mib = psutil.Process(process.pid).memory_info().rss / 2**20
            loaded = {entry.path for entry in psutil.Process(process.pid).memory_maps()}

    print(f"idle router: {rss_mib:.0f} MiB")
    assert rss_mib < RSS_MIB
    assert not [path for path in loaded if "numpy" in path]


def test_a_setting_that_cannot_be_used_is_named(tmp_path):
    with a_router(tmp_path, LUMEN_GRPC_PORT="http") as (process, _):
        said = process.stderr.read().decode()
        code = process.wait(BOUND_S)

    assert code == 2
    assert "LUMEN_GRPC_PORT is 'http'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("taken", ["LUMEN_GRPC_PORT", "LUMEN_HEALTH_PORT", "LUMEN_METRICS_PORT"])
def test_a_taken_port_is_named(tmp_path, taken):
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = str(occupied.getsockname()[1])
        with a_router(tmp_path, **{taken: port}) as (process, _):
            said = process.stderr.read().decode()
            code = process.wait(BOUND_S)

    assert code == 1
    assert port in said
    assert "Traceback" not in said


def test_it_does_not_outlive_its_parent(tmp_path):
    with a_router(tmp_path, LUMEN_PARENT_PID="1") as (process, _):
        said = process.stderr.read().decode()
        code = process.wait(BOUND_S)

    assert code == 1
    assert "has ended" in said
