"""The router's inference as a transport meets it that knows no gRPC.

How calls are held and tried again, `test_waiting` and `test_forward` say: that is the core's too.
"""

import asyncio

import pytest
from router_scripts import EXHAUSTED, Gate
from router_world import JPEG, ScriptedPod, a_service, a_world, one_service, until

from lumen_router.upstream.call import InferenceRequest
from lumen_wire.deadline import Deadline
from lumen_wire.errors import DeadlineExceeded, ResourceExhausted
from lumen_wire.results import parse_labels

BOTH = (a_service(), a_service("bioclip", "bioclip"))


async def ask(world, task="clip_image_embed", payload=JPEG, timeout_s=60.0, **meta):
    """Ask as a transport does: what is held is charged first, and what is refused is counted."""
    core, caller = world.running.inference, ("line", "1")
    account = core.budget.account(*caller)
    try:
        if not account.try_take(len(payload)):
            core.reject(error := ResourceExhausted("too many bytes are held: try again shortly"))
            raise error
        request = InferenceRequest(task, payload, "image/jpeg", meta, caller=caller)
        return await core.infer(request, Deadline.after(timeout_s))
    finally:
        account.close()


def counted(world, code, service="clip", task="image_embed"):
    return world.metric("lumen_router_requests_total", service=service, task=task, code=code)


async def test_smart_classify_names_the_species(tmp_path):
    clip, bioclip = ScriptedPod(), ScriptedPod("bioclip")
    async with a_world(tmp_path, clip, bioclip) as world:
        await world.routed(*BOTH, clip=[clip], bioclip=[bioclip])

        answer = await ask(world, "smart_classify")

    assert answer.meta["source"] == "bioclip_classification"
    assert parse_labels(answer.result).labels[0].label == "robin"


async def test_a_deadline_ends_the_call_and_is_counted(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod(delay_s=30.0)) as world:
        with pytest.raises(DeadlineExceeded):
            await ask(world, timeout_s=0.5)

        assert counted(world, "DEADLINE_EXCEEDED") == 1
        await until(lambda: pod.cancelled == 1)


async def test_a_call_that_is_cancelled_cancels_the_pods_work(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod(delay_s=30.0)) as world:
        call = asyncio.create_task(ask(world))
        await until(lambda: pod.requests)
        call.cancel()

        await until(lambda: pod.cancelled == 1)
        assert counted(world, "CANCELLED") == 1


async def test_only_so_many_bytes_are_held_for_callers_of_every_transport_together(tmp_path):
    payload = b"\xff\xd8\xff\xe0" + bytes(600_000) + b"\xff\xd9"
    async with one_service(tmp_path, pod := ScriptedPod(), LUMEN_HELD_BYTES=1_000_000) as world:
        pod.script = gate = Gate(pod)
        first = asyncio.create_task(world.infer("clip_image_embed", payload))
        await until(lambda: pod.requests)

        with pytest.raises(ResourceExhausted):
            await ask(world, payload=payload)
        refusal = await world.refusal("clip_image_embed", payload)
        gate.opened.set()
        await first
        await until(lambda: world.running.inference.budget.held_bytes == 0)
        await ask(world, payload=payload)

    assert refusal.code() is EXHAUSTED
    assert counted(world, "OK") == 2
