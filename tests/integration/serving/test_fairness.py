"""A model server beside callers who send more than it can answer: who is served, in which order."""

import asyncio
import contextlib

import grpc
import pytest
from router_world import a_service, a_world
from serving_servers import a_config, a_server
from tiny_models import a_jpeg

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

FLOODERS = 16
EACH = 16
PATIENCE_S = 600
ONE_BY_ONE = {"LUMEN_BACKEND": "fake", "LUMEN_FAKE_DELAY_MS": "150"}
BOUND_S = 120


def a_request(number, task="image_embed"):
    payload = a_jpeg(number) if task == "image_embed" else f"text {number}".encode()
    return pb.InferRequest(task=task, payload=payload, meta={"error_mode": "status"})


@contextlib.asynccontextmanager
async def connections(address, count):
    async with contextlib.AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options))
            for _ in range(count)
        ]
        yield [pb_grpc.InferenceStub(channel) for channel in channels]


async def answered(stub, number, task="image_embed", metadata=None):
    call = stub.Infer(iter([a_request(number, task)]), timeout=PATIENCE_S, metadata=metadata)
    (answer,) = [answer async for answer in call]
    assert not answer.HasField("error"), answer.error


async def all_are_in(server, wanted):
    async with asyncio.timeout(BOUND_S):
        while (await asyncio.to_thread(server.metrics))["lumen_inflight"] < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def one_by_one(tiny_cache):
    """A server whose batches hold one item, so that answers come in the order of the line."""
    return a_config(tiny_cache / "models" / "tiny-clip", server={"maxBatchSize": 1})


async def overtaken(server, flood, good):
    """How many of the flood were not answered yet when the good call was."""
    flooding = [asyncio.create_task(call) for call in flood]
    # Some are answered while the last ones come in.
    await all_are_in(server, len(flooding) * 3 // 4)
    async with asyncio.timeout(BOUND_S):
        await good()
    left = sum(not call.done() for call in flooding)
    for call in flooding:
        call.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
    return left


@pytest.mark.parametrize(
    ("flooders", "each", "forged", "task", "least"),
    [
        # In order of arrival at most the quarter that came later would be left.
        (FLOODERS, EACH, False, "image_embed", FLOODERS * EACH * 3 // 8),
        (1, 100, False, "embed", 40),
        (1, 100, True, "image_embed", 40),
    ],
    ids=["sixteen connections", "a text beside pictures", "names that one connection tells"],
)
async def test_a_good_call_overtakes_what_others_have_waiting(
    tiny_cache, tmp_path, flooders, each, forged, task, least
):
    with a_server(one_by_one(tiny_cache), tmp_path, ONE_BY_ONE) as server:
        await asyncio.to_thread(server.wait_for_health)
        async with connections(server.address, flooders + 1) as (good, *bad):
            flood = [
                answered(stub, n, metadata=(("lumen-caller", f"f{n}.{n}"),) if forged else None)
                for n in range(each)
                for stub in bad
            ]
            left = await overtaken(server, flood, lambda: answered(good, 1, task))

    assert left > least


async def test_behind_a_router_a_good_call_overtakes_what_others_have_waiting(tiny_cache, tmp_path):
    with a_server(one_by_one(tiny_cache), tmp_path, ONE_BY_ONE) as server:
        await asyncio.to_thread(server.wait_for_health)
        async with a_world(tmp_path) as world:
            await world.routed(a_service(), clip=[server.address])
            router = f"127.0.0.1:{world.running.ports.grpc}"
            async with connections(router, FLOODERS + 1) as (good, *bad):
                flood = [answered(stub, n) for n in range(EACH) for stub in bad]
                left = await overtaken(server, flood, lambda: answered(good, 1))

    assert left > FLOODERS * EACH * 3 // 8
