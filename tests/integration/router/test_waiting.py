"""Calls that wait: for a pod, how long, and how many of them."""

import asyncio

from router_scripts import EXHAUSTED, UNAVAILABLE
from router_world import ScriptedPod, a_service, a_world, until


async def test_a_call_waits_for_a_pod_and_goes_as_soon_as_one_is_ready(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod(loading=True)) as world:
        world.route(a_service(), clip=[pod])
        await until(lambda: world.directory.routes)
        waiting = asyncio.create_task(world.infer("clip_image_embed"))
        await until(lambda: world.running._room.waiting == 1)
        pod.loading = False

        answer = await waiting
        held = world.metric("lumen_router_held_total", service="clip", outcome="served")

    assert answer.meta["dim"] == "4"
    assert held == 1


async def test_a_wait_ends_within_the_deadline_with_the_reason(tmp_path):
    conditions = [
        {"type": "Ready", "status": "False", "reason": "Fetching", "message": "12 % are here."}
    ]
    status = {"reason": "Fetching", "conditions": conditions}
    async with a_world(tmp_path) as world:
        world.route(a_service(status=status))
        await until(lambda: world.directory.routes)

        refusal = await world.refusal("clip_image_embed", timeout_s=5.0)

    assert refusal.code() is UNAVAILABLE
    assert refusal.details() == "service clip has no pod that can answer (Fetching: 12 % are here.)"


async def test_a_wait_ends_with_patience_where_the_deadline_is_far(tmp_path):
    async with a_world(tmp_path, LUMEN_HOLD_S=0.2) as world:
        world.route(a_service())
        await until(lambda: world.directory.routes)

        refusal = await world.refusal("clip_image_embed", timeout_s=None)

    assert refusal.code() is UNAVAILABLE


async def test_nobody_waits_for_what_somebody_has_to_change_first(tmp_path):
    async with a_world(tmp_path) as world:
        world.route(a_service(status={"reason": "ChecksumMismatch"}))
        await until(lambda: world.directory.routes)

        refusal = await world.refusal("clip_image_embed", timeout_s=None)
        held = world.metric("lumen_router_held_total", service="clip", outcome="refused")

    assert refusal.code() is UNAVAILABLE
    assert "ChecksumMismatch" in refusal.details()
    assert held == 0


async def test_only_so_many_calls_wait(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod(loading=True), LUMEN_HELD_CALLS=3) as world:
        world.route(a_service(), clip=[pod])
        await until(lambda: world.directory.routes)
        waiting = [asyncio.create_task(world.infer("clip_image_embed")) for _ in range(3)]
        await until(lambda: world.running._room.waiting == 3)

        refusal = await world.refusal("clip_image_embed")
        pod.loading = False
        answers = await asyncio.gather(*waiting)

    assert refusal.code() is EXHAUSTED
    assert ("grpc-retry-pushback-ms", "500") in tuple(refusal.trailing_metadata())
    assert len(answers) == 3
