"""The Infer stream over real gRPC: what clients of today and of the first generation do."""

import asyncio
import dataclasses

import grpc
import pytest
from wire_messages import KIB, a_budget, a_jpeg, an_image_request, parts_of
from wire_servers import MIB, WAIT_S, Script, a_script_server, a_text, answers, status_of, until

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import ChunkLimits
from lumen_wire.server.open_streams import Drain
from lumen_wire.server.stream import StreamOptions

OK = grpc.StatusCode.OK


def by_id(responses: list[pb.InferResponse]) -> dict[str, pb.InferResponse]:
    return {r.correlation_id: r for r in responses}


async def test_an_interactive_stream_is_answered_while_it_stays_open():
    async with a_script_server(Script()) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        for size in (3, 5):
            await call.write(a_text(payload=b"x" * size))
            response = await call.read()
            assert (response.result, response.is_final) == (str(size).encode(), True)
        picture = a_jpeg(5000)
        await call.write(an_image_request(picture, task="echo"))
        assert (await call.read()).result == b"5000"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is OK


async def test_an_image_that_does_not_end_is_answered_after_silence_on_an_open_stream():
    async with a_script_server(Script()) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(an_image_request(b"not an image", task="echo"))

        assert (await call.read()).result == b"12"
        call.cancel()


async def test_8_mixed_requests_on_one_stream_are_all_answered_and_a_bad_one_fails_alone():
    big = a_jpeg(1_300_000)
    batch = [
        an_image_request(a_jpeg(900, s), task="echo", correlation_id=f"b{s}", seq=s, total=3)
        for s in range(3)
    ]
    requests = [
        a_text(correlation_id="t1"),
        *parts_of(big, 256 * KIB, task="echo", correlation_id="p1"),
        *batch,
        a_text("bad", correlation_id="bad"),
        *parts_of(big, 512 * KIB, meta="first", task="echo", correlation_id="p2"),
        a_text(correlation_id="t2", total=1),
    ]
    async with a_script_server(Script()) as (_, stub, _):
        got = by_id(await answers(stub, requests))

    bad = got.pop("bad")
    assert bad.is_final
    assert bad.error == pb.Error(code=pb.ERROR_CODE_INVALID_ARGUMENT, message="Unknown task: bad")
    assert {k: v.result for k, v in got.items()} == {
        **dict.fromkeys(("t1", "t2"), b"5"),
        **dict.fromkeys(("p1", "p2"), b"1300000"),
        **{f"b{s}": b"900" for s in range(3)},
    }
    assert not any(v.HasField("error") for v in got.values())


async def test_answers_come_in_any_order():
    script = Script()
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("hold", correlation_id="slow"))
        await call.write(a_text("echo", correlation_id="fast"))
        assert (await call.read()).correlation_id == "fast"
        script.release.set()
        assert (await call.read()).correlation_id == "slow"
        call.cancel()


async def test_a_response_above_4_mib_comes_in_parts_to_a_client_with_default_limits():
    async with a_script_server(Script()) as (_, stub, _):
        parts = await answers(stub, [a_text("large", correlation_id="7")])

    assert len(parts) > 1
    assert [p.seq for p in parts] == list(range(len(parts)))
    assert {(p.total, p.correlation_id, p.result_mime) for p in parts} == {(len(parts), "7", "m")}
    assert [p.is_final for p in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(len(p.result) for p in parts) == 10 * MIB


async def test_a_handler_may_answer_by_an_iterator_whose_last_is_final():
    async with a_script_server(Script()) as (_, stub, _):
        parts = await answers(stub, [a_text("parts", correlation_id="7")])

    assert [(p.seq, p.is_final, p.correlation_id) for p in parts] == [
        (0, False, "7"),
        (1, False, "7"),
        (2, True, "7"),
    ]


# Errors: as status or in-band


async def test_a_streams_only_request_that_fails_after_half_close_is_answered_with_a_status():
    async with a_script_server(Script()) as (_, stub, _):
        assert await status_of(stub, a_text("bad")) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unknown task: bad",
        )
        assert (await status_of(stub, a_text("missing")))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_failure_on_an_open_stream_is_in_band_and_the_stream_goes_on():
    async with a_script_server(Script()) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("missing"))
        error = (await call.read()).error
        assert (error.code, error.detail) == (pb.ERROR_CODE_INVALID_ARGUMENT, "NOT_FOUND")
        await call.write(a_text())
        assert (await call.read()).result == b"5"
        call.cancel()


async def test_error_mode_inband_never_ends_the_stream():
    async with a_script_server(Script()) as (_, stub, _):
        [response] = await answers(stub, [a_text("bad", meta={"error_mode": "inband"})])

    assert response.error.message == "Unknown task: bad"


async def test_error_mode_status_ends_an_open_stream_when_nothing_else_is_in_flight():
    async with a_script_server(Script()) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("full", meta={"error_mode": "status"}))

        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(await call.trailing_metadata())["grpc-retry-pushback-ms"] == "70"


async def test_error_mode_status_is_in_band_while_another_request_is_in_flight():
    script = Script()
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("hold", correlation_id="other"))
        await script.begun.acquire()
        await call.write(a_text("full", meta={"error_mode": "status"}))
        response = await call.read()
        assert response.error.detail == "RESOURCE_EXHAUSTED"
        assert dict(response.meta) == {"retry_after_ms": "70"}
        script.release.set()
        assert (await call.read()).correlation_id == "other"
        call.cancel()


async def test_a_fault_of_ours_is_internal_without_its_text():
    async with a_script_server(Script()) as (_, stub, _):
        code, details = await status_of(stub, a_text("boom"))

    assert code is grpc.StatusCode.INTERNAL
    assert "a fault" not in details
    assert "its log has the cause" in details


async def test_a_request_whose_work_was_cancelled_inside_is_answered_too():
    async with a_script_server(Script()) as (_, stub, _):
        got = by_id(
            await answers(stub, [a_text("dropped", correlation_id="d"), a_text(correlation_id="g")])
        )

    assert got["d"].error.detail == "CANCELLED"
    assert got["g"].result == b"5"


async def test_a_message_that_is_no_request_fails_alone_and_is_the_callers_fault():
    async with a_script_server(Script()) as (channel, _, _), asyncio.timeout(WAIT_S):
        call = channel.stream_stream(
            "/home_native.v1.Inference/Infer", response_deserializer=pb.InferResponse.FromString
        )()
        for raw in (b"\xff\xff\xff\xff", b"\x0a\x02\xff\xfe"):
            await call.write(raw)
            error = (await call.read()).error
            assert error.code == pb.ERROR_CODE_INVALID_ARGUMENT
            assert error.message == "A message of this stream is not an InferRequest."
        await call.write(a_text().SerializeToString())
        assert (await call.read()).result == b"5"
        call.cancel()


# Bounds, deadlines, cancel


async def test_at_most_so_many_requests_of_a_stream_run_at_once_and_none_is_lost():
    script = Script(StreamOptions(max_in_flight=4))
    async with a_script_server(script) as (_, stub, _):
        asking = asyncio.ensure_future(
            answers(stub, [a_text("hold", correlation_id=str(i)) for i in range(20)])
        )
        await until(lambda: script.running == 4)
        script.release.set()

        assert len(by_id(await asking)) == 20
        assert script.most_running == 4


async def test_cancel_reaches_every_handler_of_the_stream_and_frees_its_bytes():
    budget = a_budget(MIB)
    script = Script(StreamOptions(limits=ChunkLimits(budget=budget)))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        for _ in range(3):
            await call.write(a_text("late"))
        await call.write(parts_of(a_jpeg(900), 300)[0])
        for _ in range(3):
            await script.begun.acquire()
        call.cancel()
        for _ in range(3):
            await script.cancelled.acquire()
        await until(lambda: budget.held_bytes == 0)


async def test_a_client_that_leaves_while_large_answers_are_written_leaves_nothing_behind():
    budget = a_budget(256 * MIB)
    script = Script(StreamOptions(limits=ChunkLimits(budget=budget)))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        for _ in range(8):
            await call.write(a_text("large"))
        await call.read()
        call.cancel()
        await until(lambda: budget.held_bytes == 0 and script.running == 0)
        assert len(await answers(stub, [a_text()])) == 1


async def test_a_request_past_its_deadline_is_answered_and_its_handler_cancelled():
    script = Script(StreamOptions(default_deadline_s=0.05))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("late"))

        assert (await call.read()).error.code == pb.ERROR_CODE_DEADLINE_EXCEEDED
        await script.cancelled.acquire()
        call.cancel()


async def test_beyond_the_byte_budget_a_request_is_resource_exhausted_and_the_rest_goes_on():
    script = Script(StreamOptions(limits=ChunkLimits(budget=a_budget(100_000))))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("hold", b"x" * 70_000, correlation_id="first"))
        await script.begun.acquire()
        await call.write(a_text("echo", b"x" * 20_000, correlation_id="second"))
        response = await call.read()
        assert (response.correlation_id, response.error.detail) == ("second", "RESOURCE_EXHAUSTED")
        script.release.set()
        assert (await call.read()).result == b"70000"
        await call.write(a_text("echo", b"x" * 20_000))
        assert (await call.read()).result == b"20000"
        call.cancel()


async def test_what_a_client_does_not_read_is_charged_to_it_and_bounded():
    budget = a_budget(64 * MIB)
    rejected: list[object] = []
    options = StreamOptions(limits=ChunkLimits(budget=budget), on_rejected=rejected.append)
    script = Script(options)
    async with a_script_server(script) as (channel, _, _), asyncio.timeout(WAIT_S):
        call = channel.stream_stream("/home_native.v1.Inference/Infer")()
        for index in range(40):
            await call.write(a_text("large", correlation_id=f"{index}").SerializeToString())
        # All have come before any is read: each answer that is read makes room for another.
        await until(lambda: script.begun._value + len(rejected) == 40)
        await until(lambda: budget.held_bytes > 30 * MIB and script.running == 0)

        assert budget.held_bytes < 48 * MIB
        finals: list[pb.InferResponse] = []
        while len(finals) < 40:
            part = pb.InferResponse.FromString(await call.read())
            finals += [part] if part.is_final else []
        call.cancel()
        await until(lambda: budget.held_bytes == 0)

    refused = [one.error.detail for one in finals if one.HasField("error")]
    assert refused == ["RESOURCE_EXHAUSTED"] * len(refused)
    assert 40 - len(refused) in range(3, 6)


async def test_a_client_that_does_not_read_at_all_loses_its_stream_and_what_it_held():
    budget = a_budget(64 * MIB)
    script = Script(StreamOptions(limits=ChunkLimits(budget=budget), write_wait_s=0.5))
    async with a_script_server(script) as (channel, stub, _), asyncio.timeout(WAIT_S):
        call = channel.stream_stream("/home_native.v1.Inference/Infer")()
        for _ in range(3):
            await call.write(a_text("large").SerializeToString())
        await until(lambda: budget.held_bytes > 20 * MIB)
        await until(lambda: budget.held_bytes == 0)

        assert script.running == 0
        assert len(await answers(stub, [a_text()])) == 1


async def test_a_request_is_not_held_any_more_once_its_answer_is_there():
    budget = a_budget(64 * MIB)
    script = Script(StreamOptions(limits=ChunkLimits(budget=budget)))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        call = stub.Infer()
        await call.write(a_text("hold", b"x" * 3 * MIB))
        await script.begun.acquire()
        assert budget.held_bytes > 3 * MIB
        script.release.set()
        assert (await call.read()).result == str(3 * MIB).encode()

        await until(lambda: budget.held_bytes == 0)
        call.cancel()
        await until(lambda: budget.callers == 0)


# Age and drain


async def test_an_aged_stream_ends_with_ok_once_nothing_is_in_flight():
    script = Script(StreamOptions(max_age_s=0.2))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        busy = stub.Infer()
        await busy.write(a_text("hold"))
        await script.begun.acquire()
        idle = stub.Infer()
        await idle.write(a_text())
        assert (await idle.read()).result == b"5"
        assert await idle.code() is OK  # so the busy one, being older, is past its age too
        assert not busy.done()
        script.release.set()
        assert (await busy.read()).result == b"5"

        assert await busy.read() is grpc.aio.EOF
        assert await busy.code() is OK


@pytest.mark.parametrize("open_first", [True, False])
async def test_a_request_that_is_under_way_when_draining_begins_is_answered(open_first):
    drain = Drain()
    options = dataclasses.replace(StreamOptions(), drain=drain, first_request_grace_s=WAIT_S)
    async with a_script_server(Script(options)) as (_, stub, _), asyncio.timeout(WAIT_S):
        if not open_first:
            drain.begin()
        call = stub.Infer()
        await call.wait_for_connection()
        if open_first:
            drain.begin()
        await call.write(a_text())

        assert (await call.read()).result == b"5"
        assert await call.code() is OK


@pytest.mark.parametrize("open_first", [True, False])
async def test_draining_ends_idle_streams_and_lets_busy_ones_answer(open_first):
    drain = Drain()
    script = Script(dataclasses.replace(StreamOptions(), drain=drain))
    async with a_script_server(script) as (_, stub, _), asyncio.timeout(WAIT_S):
        busy = stub.Infer()
        await busy.write(a_text("hold"))
        await script.begun.acquire()
        if open_first:
            idle = stub.Infer()
            await idle.write(a_text())
            await idle.read()
            drain.begin()
        else:
            drain.begin()
            idle = stub.Infer()
            await idle.wait_for_connection()
        assert await idle.code() is OK
        script.release.set()
        assert (await busy.read()).result == b"5"
        assert await busy.code() is OK
