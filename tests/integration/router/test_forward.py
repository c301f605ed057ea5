"""One request through the router: out whole, again elsewhere where that helps, back in time."""

import asyncio

import grpc
import pytest
from router_scripts import EXHAUSTED, UNAVAILABLE, Gate, inband, refusing, silent
from router_world import BOUND_S, JPEG, ScriptedPod, labels, one_service, until

from lumen_wire.errors import Unavailable
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.request.splitting import split_request
from lumen_wire.tasks import TaskKind


async def test_a_request_goes_out_whole_and_its_answer_comes_back(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
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

    async with one_service(tmp_path, pod := ScriptedPod(script=script)) as world:
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
    async with one_service(tmp_path, bad, good) as world:
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
    async with one_service(tmp_path, *pods) as world:
        refusal = await world.refusal("clip_image_embed")

    assert (refusal.code(), refusal.details()) == (code, "because")
    assert sum(len(pod.requests) for pod in pods) == 1


async def test_a_full_service_says_so_at_once_with_the_pods_pushback(tmp_path):
    pods = [ScriptedPod(script=refusing(EXHAUSTED, "full", 700)) for _ in range(2)]
    async with one_service(tmp_path, *pods) as world:
        refusal = await world.refusal("clip_image_embed")

    assert (refusal.code(), refusal.details()) == (EXHAUSTED, "full")
    assert ("grpc-retry-pushback-ms", "700") in tuple(refusal.trailing_metadata())
    assert [len(pod.requests) for pod in pods] == [1, 1]


async def test_a_pod_that_asks_for_patience_is_left_alone(tmp_path):
    full, free = ScriptedPod(script=refusing(EXHAUSTED, "full", 60_000)), ScriptedPod()
    async with one_service(tmp_path, full, free) as world:
        for _ in range(30):
            await world.infer("clip_image_embed")

    assert len(full.requests) == 1
    assert free.answered == 30


async def test_retries_stop_at_the_budget(tmp_path):
    pods = [ScriptedPod(script=refusing(EXHAUSTED, "full", 0)) for _ in range(4)]
    async with one_service(tmp_path, *pods) as world:
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


async def test_a_cancelled_call_leaves_the_pod_too(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
        pod.script = Gate(pod)
        call = asyncio.create_task(world.infer("clip_image_embed"))
        await until(lambda: pod.requests)

        call.cancel()

        await until(lambda: pod.cancelled == 1)
        (service,) = world.directory.services
        await until(lambda: [one.outstanding for one in service.pods] == [0])
        assert world.ready() == {"clip": 1}


async def test_the_pod_gets_the_rest_of_the_callers_deadline(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
        await world.infer("clip_image_embed", timeout_s=7.0)
        await world.infer("clip_image_embed", timeout_s=None)

    with_deadline, without = pod.time_left
    # gRPC rounds a timeout up by a little on its way.
    assert 0 < with_deadline < 7.5
    assert 7.5 < without < 31


async def test_a_pod_that_is_too_slow_is_a_deadline_exceeded(tmp_path):
    async with one_service(tmp_path, pod := ScriptedPod()) as world:
        pod.script = Gate(pod)
        refusal = await world.refusal("clip_image_embed", timeout_s=0.5)

        assert refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: pod.cancelled == 1)


async def test_a_task_whose_resources_are_missing_is_unknown(tmp_path):
    kinds = frozenset({TaskKind.IMAGE_EMBED, TaskKind.TEXT_EMBED})
    async with one_service(tmp_path, pod := ScriptedPod(kinds=kinds)) as world:
        refusal = await world.refusal("clip_classify")

    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.details() == "Unknown task: service clip offers no classify"
    assert pod.requests == []


async def test_eight_requests_of_one_stream_are_answered_one_by_one_and_a_bad_one_fails_alone(
    tmp_path,
):
    async with one_service(tmp_path, ScriptedPod()) as world:
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


async def test_a_pod_is_told_by_opaque_names_whom_each_call_is_for(tmp_path):
    told = []

    async def remembering(request, context):
        told.append([v for k, v in context.invocation_metadata() if k == "lumen-caller"])
        return await pod.answer(request, context)

    async with one_service(tmp_path, pod := ScriptedPod(script=remembering)) as world:
        options = [("grpc.use_local_subchannel_pool", 1)]
        address = f"127.0.0.1:{world.running.ports.grpc}"
        async with grpc.aio.insecure_channel(address, options) as channel:
            for connection in (world.channel, channel):
                for metadata in ((), (("lumen-caller", "somebody.else"),)):
                    call = pb_grpc.InferenceStub(connection).Infer(metadata=metadata)
                    await call.write(pb.InferRequest(task="clip_text_embed", payload=b"a cat"))
                    await call.done_writing()
                    assert (await call.read()).is_final

    ((first,), (forged,), (second,), _) = told
    assert first == forged
    assert first.partition(".")[0] == second.partition(".")[0]
    assert first != second
    assert "127.0.0.1" not in first
