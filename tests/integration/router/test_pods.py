"""Which pod gets a call while pods come, go, fall over and fill up."""

import asyncio

from router_scripts import UNAVAILABLE, Gate, refusing
from router_world import ScriptedPod, a_service, a_world, one_service, until


async def test_a_removed_pod_still_answers_what_it_has(tmp_path):
    leaving, staying = ScriptedPod(), ScriptedPod()
    async with a_world(tmp_path, leaving, staying) as world:
        leaving.script = gate = Gate(leaving)
        await world.routed(a_service(), clip=[leaving])
        call = asyncio.create_task(world.infer("clip_image_embed"))
        await until(lambda: leaving.requests)

        await world.routed(a_service(), clip=[staying])
        await world.infer("clip_image_embed")
        gate.opened.set()
        answer = await call

    assert answer.meta["dim"] == "4"
    assert (leaving.answered, staying.answered) == (1, 1)
    assert leaving.cancelled == 0


async def test_a_terminating_pod_gets_nothing_new(tmp_path):
    leaving, staying = ScriptedPod(), ScriptedPod()
    async with a_world(tmp_path, leaving, staying) as world:
        going = {"address": leaving.address, "ready": True, "terminating": True}
        world.route(a_service(), clip=[going, staying])
        await until(lambda: world.ready() == {"clip": 1})

        for _ in range(5):
            await world.infer("clip_image_embed")

    assert (leaving.learnt, staying.answered) == (0, 5)


async def test_a_killed_pods_calls_move_to_another_and_it_comes_back(tmp_path):
    dying, other = ScriptedPod(), ScriptedPod()
    async with one_service(tmp_path, dying, other) as world:
        dying.script, other.script = Gate(dying), (gate := Gate(other))
        calls = [asyncio.create_task(world.infer("clip_image_embed")) for _ in range(12)]
        await until(lambda: len(dying.requests) + len(other.requests) == 12)

        await dying.kill()
        gate.opened.set()
        answers = await asyncio.gather(*calls)
        await until(lambda: world.ready() == {"clip": 1})
        dying.script = None
        await dying.start()
        await until(lambda: world.ready() == {"clip": 2})

    assert [answer.meta["dim"] for answer in answers] == ["4"] * 12
    assert other.answered == 12


async def test_the_calls_of_an_only_pod_are_held_over_its_restart(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
        pod.script = Gate(pod)
        calls = [asyncio.create_task(world.infer("clip_image_embed")) for _ in range(8)]
        await until(lambda: len(pod.requests) == 8)

        await pod.kill()
        pod.script = None
        await pod.start()
        answers = await asyncio.gather(*calls)

    assert [answer.meta["dim"] for answer in answers] == ["4"] * 8


async def test_an_unready_pod_is_probed_with_growing_patience_and_not_with_calls(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
        pod.script = refusing(UNAVAILABLE, "stopping")
        pod.loading = True

        refusal = await world.refusal("clip_image_embed", timeout_s=5.0)

    assert refusal.code() is UNAVAILABLE
    assert len(pod.requests) == 1


async def test_a_replaced_routes_file_disturbs_no_call(tmp_path):
    old, new = ScriptedPod(delay_s=0.005), ScriptedPod(delay_s=0.005)
    async with a_world(tmp_path, old, new) as world:
        await world.routed(a_service(), clip=[old])
        done = asyncio.Event()

        async def caller() -> int:
            count = 0
            while not done.is_set():
                assert (await world.infer("clip_image_embed")).meta["dim"] == "4"
                count += 1
            return count

        callers = [asyncio.create_task(caller()) for _ in range(4)]
        for turn in range(6):
            before = old.answered + new.answered
            pods = [[new], [old, new], [old]][turn % 3]
            await world.routed(a_service(aliases=[f"a{turn}"]), clip=pods)
            await until(lambda before=before: old.answered + new.answered > before + 10)
        done.set()
        counts = await asyncio.gather(*callers)

    assert sum(counts) == old.answered + new.answered
    assert min(old.answered, new.answered) > 0


async def test_the_idle_pod_gets_the_call(tmp_path):
    busy, idle = ScriptedPod(), ScriptedPod()
    async with a_world(tmp_path, busy, idle) as world:
        busy.script = gate = Gate(busy)
        await world.routed(a_service(), clip=[busy])
        stuck = asyncio.create_task(world.infer("clip_image_embed"))
        await until(lambda: busy.requests)
        await world.routed(a_service(), clip=[busy, idle])

        for _ in range(10):
            await world.infer("clip_image_embed")
        gate.opened.set()
        await stuck

    assert (busy.answered, idle.answered) == (1, 10)


async def test_a_canary_gets_its_weights_share(tmp_path):
    stable, canary = ScriptedPod(), ScriptedPod()
    routes = [
        {"variant": "stable", "service": "clip-stable", "weight": 80, "embeddingSpace": "space-1"},
        {"variant": "canary", "service": "clip-canary", "weight": 20, "embeddingSpace": "space-1"},
    ]
    status = {"embeddingSpace": "space-1", "routes": routes}
    async with a_world(tmp_path, stable, canary) as world:
        world.route(a_service(status=status), clip_stable=[stable], clip_canary=[canary])
        await until(lambda: world.ready() == {"clip": 2})

        for _ in range(150):
            await world.infer("clip_image_embed")

    assert stable.answered + canary.answered == 150
    assert 8 <= canary.answered <= 60
