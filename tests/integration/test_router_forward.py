"""One request through the router: to which pod, again where, and how long it waits."""

import asyncio

import grpc
import pytest
from router_world import (
    BOUND_S,
    JPEG,
    Refusal,
    ScriptedPod,
    a_service,
    a_world,
    embedding,
    labels,
    until,
)

from lumen_wire.chunks import split_request
from lumen_wire.errors import Unavailable, to_inband, to_inband_meta
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import Kind

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def refusing(code: grpc.StatusCode, message: str = "no", pushback_ms: int | None = None):
    async def script(request, context):
        raise Refusal(code, message, pushback_ms)

    return script


def inband(error):
    async def script(request, context):
        return pb.InferResponse(is_final=True, error=to_inband(error), meta=to_inband_meta(error))

    return script


async def silent(request, context):
    return []


class Gate:
    """A script that answers when it is opened."""

    def __init__(self, pod: ScriptedPod) -> None:
        self.pod = pod
        self.opened = asyncio.Event()

    async def __call__(self, request, context):
        await self.opened.wait()
        return await self.pod.answer(request, context)


async def test_a_request_goes_out_whole_and_its_answer_comes_back(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        await world.routed(a_service(), clip=[pod])

        answer = await world.infer("image_embed", service="clip", embedding_space="space-1")

    (asked,) = pod.requests
    assert (asked.task, asked.payload, asked.payload_mime) == (
        "clip_image_embed",
        JPEG,
        "image/jpeg",
    )
    assert dict(asked.meta) == {"embedding_space": "space-1"}
    assert (answer.correlation_id, answer.is_final) == ("my-id", True)
    assert answer.meta["embedding_space"] == "space-1"
    assert float(answer.meta["router_ms"]) >= 0


async def test_a_big_request_and_a_big_answer_go_through_in_parts(tmp_path):
    payload = b"\xff\xd8\xff\xe0" + bytes(9_000_000) + b"\xff\xd9"
    many = {f"label {i:06}": 1 / (i + 2) for i in range(200_000)}

    async def script(request, context):
        return labels(many)

    async with a_world(tmp_path, pod := ScriptedPod(script=script)) as world:
        await world.routed(a_service(), clip=[pod])
        call = world.stub.Infer(timeout=BOUND_S)
        whole = pb.InferRequest(task="classify", payload=payload, payload_mime="image/jpeg")
        for part in split_request(whole):
            await call.write(part)
        await call.done_writing()
        parts = [part async for part in call]

    assert pod.requests[0].payload == payload
    assert len(parts) > 1
    assert [part.is_final for part in parts] == [False] * (len(parts) - 1) + [True]
    assert b"".join(part.result for part in parts) == labels(many).result


@pytest.mark.parametrize(
    "script",
    [
        refusing(UNAVAILABLE),
        refusing(EXHAUSTED),
        refusing(EXHAUSTED, pushback_ms=60_000),
        refusing(grpc.StatusCode.CANCELLED),
        inband(Unavailable("stopping")),
        silent,
    ],
    ids=["unavailable", "full", "pushing-back", "cancelled", "in-band", "draining"],
)
async def test_a_refused_call_is_answered_by_another_pod(tmp_path, script):
    bad, good = ScriptedPod(script=script), ScriptedPod()
    async with a_world(tmp_path, bad, good) as world:
        await world.routed(a_service(), clip=[bad, good])

        for _ in range(20):
            assert (await world.infer("clip_image_embed")).meta["dim"] == "4"

    assert good.answered == 20
    assert bad.requests


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ],
)
async def test_what_another_pod_would_not_cure_is_not_tried_again(tmp_path, code):
    pods = [ScriptedPod(script=refusing(code, "because")) for _ in range(2)]
    async with a_world(tmp_path, *pods) as world:
        await world.routed(a_service(), clip=pods)

        refusal = await world.refusal("clip_image_embed")

    assert (refusal.code(), refusal.details()) == (code, "because")
    assert sum(len(pod.requests) for pod in pods) == 1


async def test_a_full_service_says_so_at_once_with_the_pods_pushback(tmp_path):
    pods = [ScriptedPod(script=refusing(EXHAUSTED, "full", 700)) for _ in range(2)]
    async with a_world(tmp_path, *pods) as world:
        await world.routed(a_service(), clip=pods)

        refusal = await world.refusal("clip_image_embed")

    assert (refusal.code(), refusal.details()) == (EXHAUSTED, "full")
    assert ("grpc-retry-pushback-ms", "700") in tuple(refusal.trailing_metadata())
    assert [len(pod.requests) for pod in pods] == [1, 1]


async def test_a_pod_that_asks_for_patience_is_left_alone(tmp_path):
    full, free = ScriptedPod(script=refusing(EXHAUSTED, "full", 60_000)), ScriptedPod()
    async with a_world(tmp_path, full, free) as world:
        await world.routed(a_service(), clip=[full, free])

        for _ in range(30):
            await world.infer("clip_image_embed")

    assert len(full.requests) == 1
    assert free.answered == 30


async def test_retries_stop_at_the_budget(tmp_path):
    pods = [ScriptedPod(script=refusing(EXHAUSTED, "full", 0)) for _ in range(4)]
    async with a_world(tmp_path, *pods) as world:
        await world.routed(a_service(), clip=pods)

        calls = 400
        for start in range(0, calls, 40):
            batch = [world.refusal("clip_image_embed") for _ in range(start, start + 40)]
            await asyncio.gather(*batch)
        attempts = sum(len(pod.requests) for pod in pods)
        retries = world.metric(
            "lumen_router_retries_total", service="clip", code="RESOURCE_EXHAUSTED"
        )

    assert attempts - calls == retries
    assert 50 + 0.15 * calls <= retries <= 50 + 0.2 * calls


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

        refusal = await world.refusal("clip_image_embed", timeout_s=1.0)

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


async def test_only_so_many_bytes_are_held_for_all_callers_together(tmp_path):
    payload = b"\xff\xd8\xff\xe0" + bytes(600_000) + b"\xff\xd9"
    async with a_world(tmp_path, pod := ScriptedPod(), LUMEN_HELD_BYTES=1_000_000) as world:
        pod.script = gate = Gate(pod)
        await world.routed(a_service(), clip=[pod])
        first = asyncio.create_task(world.infer("clip_image_embed", payload))
        await until(lambda: pod.requests)

        refusal = await world.refusal("clip_image_embed", payload)
        gate.opened.set()
        await first
        await until(lambda: world.running._budget.held_bytes == 0)
        answer = await world.infer("clip_image_embed", payload)

    assert refusal.code() is EXHAUSTED
    assert answer.meta["dim"] == "4"


async def test_a_cancelled_call_leaves_the_pod_too(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        pod.script = Gate(pod)
        await world.routed(a_service(), clip=[pod])
        call = asyncio.create_task(world.infer("clip_image_embed"))
        await until(lambda: pod.requests)

        call.cancel()

        await until(lambda: pod.cancelled == 1)
        (service,) = world.directory.services
        await until(lambda: [one.outstanding for one in service.pods] == [0])
        assert world.ready() == {"clip": 1}


async def test_the_pod_gets_the_rest_of_the_callers_deadline(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        await world.routed(a_service(), clip=[pod])

        await world.infer("clip_image_embed", timeout_s=7.0)
        await world.infer("clip_image_embed", timeout_s=None)

    with_deadline, without = pod.time_left
    # gRPC rounds a timeout up by a little on its way.
    assert 0 < with_deadline < 7.5
    assert 7.5 < without < 31


async def test_a_pod_that_is_too_slow_is_a_deadline_exceeded(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        pod.script = Gate(pod)
        await world.routed(a_service(), clip=[pod])

        refusal = await world.refusal("clip_image_embed", timeout_s=0.5)

        assert refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: pod.cancelled == 1)


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
    async with a_world(tmp_path, dying, other) as world:
        dying.script, other.script = Gate(dying), (gate := Gate(other))
        await world.routed(a_service(), clip=[dying, other])
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
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        pod.script = Gate(pod)
        await world.routed(a_service(), clip=[pod])
        calls = [asyncio.create_task(world.infer("clip_image_embed")) for _ in range(8)]
        await until(lambda: len(pod.requests) == 8)

        await pod.kill()
        pod.script = None
        await pod.start()
        answers = await asyncio.gather(*calls)

    assert [answer.meta["dim"] for answer in answers] == ["4"] * 8


async def test_an_unready_pod_is_probed_with_growing_patience_and_not_with_calls(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        await world.routed(a_service(), clip=[pod])
        pod.script = refusing(UNAVAILABLE, "stopping")
        pod.loading = True

        refusal = await world.refusal("clip_image_embed", timeout_s=1.0)

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


async def test_vectors_come_from_pods_of_the_services_space_only(tmp_path):
    right, wrong = ScriptedPod(), ScriptedPod(space="space-2")
    async with a_world(tmp_path, right, wrong) as world:
        await world.routed(a_service(status={"embeddingSpace": "space-1"}), clip=[right, wrong])

        for _ in range(12):
            answer = await world.infer("clip_image_embed")
            assert answer.meta["embedding_space"] == "space-1"
        for _ in range(12):
            await world.infer("clip_classify")

    asked = [request.task for request in wrong.requests]
    assert asked
    assert set(asked) == {"clip_classify"}


async def test_pods_without_a_declared_space_never_mix(tmp_path):
    pods = [ScriptedPod(space="space-1"), ScriptedPod(space="space-2")]
    async with a_world(tmp_path, *pods) as world:
        await world.routed(a_service(), clip=pods)

        spaces = {
            (await world.infer("clip_image_embed")).meta["embedding_space"] for _ in range(12)
        }

    assert len(spaces) == 1


async def test_a_demanded_space_is_served_or_refused(tmp_path):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        await world.routed(a_service(), clip=[pod])

        answer = await world.infer("clip_image_embed", embedding_space="space-1")
        refusal = await world.refusal("clip_image_embed", embedding_space="space-9")

    assert answer.meta["embedding_space"] == "space-1"
    assert refusal.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "space-1" in refusal.details()


async def test_a_pod_that_changed_its_space_between_two_calls_is_found_out(tmp_path):
    changed, right = ScriptedPod(), ScriptedPod()

    async def script(request, context):
        return embedding(embedding_space="space-2")

    async with a_world(tmp_path, changed, right) as world:
        await world.routed(a_service(status={"embeddingSpace": "space-1"}), clip=[changed, right])
        changed.script, changed.space = script, "space-2"

        spaces = {
            (await world.infer("clip_image_embed")).meta["embedding_space"] for _ in range(12)
        }

    assert spaces == {"space-1"}


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


async def test_a_task_whose_resources_are_missing_is_unknown(tmp_path):
    kinds = frozenset({Kind.IMAGE_EMBED, Kind.TEXT_EMBED})
    async with a_world(tmp_path, pod := ScriptedPod(kinds=kinds)) as world:
        await world.routed(a_service(), clip=[pod])

        refusal = await world.refusal("clip_classify")

    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.details() == "Unknown task: service clip offers no classify"
    assert pod.requests == []


async def test_eight_requests_of_one_stream_are_answered_one_by_one_and_a_bad_one_fails_alone(
    tmp_path,
):
    async with a_world(tmp_path, pod := ScriptedPod()) as world:
        await world.routed(a_service(), clip=[pod])
        call = world.stub.Infer(timeout=BOUND_S)
        answers = {}
        for i in range(8):
            task = "nonsense" if i == 3 else "clip_image_embed"
            await call.write(
                pb.InferRequest(
                    correlation_id=str(i), task=task, payload=JPEG, payload_mime="image/jpeg"
                )
            )
            answer = await call.read()
            answers[answer.correlation_id] = answer
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    assert sorted(answers) == [str(i) for i in range(8)]
    failed = [one for one, answer in answers.items() if answer.HasField("error")]
    assert failed == ["3"]
    assert answers["3"].error.message == "Unknown task: nonsense"
