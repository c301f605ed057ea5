"""The health name `routing`: when a router may take its place beside the others."""

import asyncio

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from router_world import BOUND_S, ScriptedPod, a_service, a_world

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
INFERENCE = "home_native.v1.Inference"


async def statuses(world, service, until_it_is):
    """Everything that the health port says of a name until it says that."""
    seen = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.running.ports.health}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        async for answer in stub.Watch(request, timeout=BOUND_S):
            seen.append(answer.status)
            if answer.status == until_it_is:
                return seen
    return seen


async def now(world, service):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.running.ports.health}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


async def test_a_router_of_an_empty_namespace_is_ready_and_serves_nothing(tmp_path):
    async with a_world(tmp_path) as world:
        world.route()

        assert (await statuses(world, "routing", SERVING))[-1] == SERVING
        assert await now(world, INFERENCE) == NOT_SERVING


@pytest.mark.parametrize(("loading", "ready"), [(False, {"clip": 1}), (True, {})])
async def test_it_is_ready_once_its_pods_have_said_what_they_are_or_do_not_answer(
    tmp_path, loading, ready
):
    async with a_world(tmp_path, pod := ScriptedPod(loading=loading)) as world:
        world.route(a_service(), clip=[pod])

        assert (await statuses(world, "routing", SERVING))[-1] == SERVING
        assert world.ready() == ready


async def test_a_new_service_does_not_take_it_back(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod(loading=True)) as world:
        world.route()
        await statuses(world, "routing", SERVING)
        world.route(a_service(), clip=[pod])
        pod.loading = False
        await statuses(world, INFERENCE, SERVING)

        assert await now(world, "routing") == SERVING


async def test_a_router_that_stops_says_so_first(tmp_path):
    async with a_world(tmp_path, LUMEN_DRAIN_DELAY_S=5) as world:
        world.route()
        await statuses(world, "routing", SERVING)
        world.stop.set()

        seen = await statuses(world, "routing", NOT_SERVING)

    assert seen[-1] == NOT_SERVING


@pytest.mark.parametrize("service", ["routing", INFERENCE])
async def test_both_names_are_known_from_the_start(tmp_path, service):
    async with asyncio.timeout(BOUND_S), a_world(tmp_path) as world:
        assert await now(world, service) == NOT_SERVING
