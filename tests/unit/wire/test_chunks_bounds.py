"""What a stream may hold of requests: bytes, parts, names, and how many at once."""

import pytest
from wire_messages import (
    MIB,
    Clock,
    a_budget,
    a_jpeg,
    a_request,
    an_assembler,
    an_image_request,
    buffered_bytes,
    errors,
    parts_of,
    payloads,
    push_all,
    remembered_bytes,
)

from lumen_wire.request.budget import REQUEST_OVERHEAD_BYTES
from lumen_wire.request.chunks import Assembler, ChunkLimits, Rejected
from lumen_wire.request.part_buffer import MOST_META_ENTRIES


def test_60_mib_are_refused_at_the_first_excess_byte_for_that_request_alone():
    assembler = an_assembler(budget=a_budget(100 * MIB))
    part = bytes(10 * MIB)
    flood = [
        an_image_request(part, seq=i, total=6, offset=i * len(part), correlation_id="big")
        for i in range(6)
    ]

    assert push_all(assembler, flood[:5]) == []
    [rejected] = assembler.push(flood[5])

    assert rejected.correlation_id == "big"
    assert "exceeds 52428800 bytes" in rejected.error.message
    assert buffered_bytes(assembler) == 0
    assert payloads(assembler.push(a_request(b"a cat"))) == [b"a cat"]


def test_the_budget_is_shared_by_streams_and_refuses_what_exceeds_it():
    budget = a_budget(200_000)
    first, second = an_assembler(budget=budget), an_assembler(budget=budget)
    push_all(first, parts_of(a_jpeg(120_000), 60_000)[:1])

    outcomes = second.push(a_request(b"x" * 150_000))

    assert errors(outcomes) == ["ResourceExhausted"]
    assert outcomes[0].error.retry_after_ms == 1000


def test_the_budget_gets_back_what_an_assembler_held():
    budget = a_budget(MIB)
    account = budget.account()
    assembler = Assembler(ChunkLimits(budget=budget), Clock(), account)
    picture = a_jpeg(900)
    [request] = push_all(assembler, parts_of(picture, 300))
    push_all(assembler, parts_of(a_jpeg(900), 300, correlation_id="left open")[:2])

    assert request.held_bytes > len(picture)
    assembler.close()
    account.give_back(request.held_bytes)
    assert budget.held_bytes == 0


@pytest.mark.parametrize("field", ["correlation_id", "task", "payload_mime"])
def test_names_of_absurd_length_are_refused_and_not_echoed(field):
    [rejected] = an_assembler().push(a_request(**{field: "x" * 100_000}))

    assert isinstance(rejected, Rejected)
    assert field in rejected.error.message
    assert len(rejected.correlation_id) <= 256
    assert len(rejected.task) <= 256


def test_meta_of_absurd_size_is_refused():
    many = {f"k{i}": "" for i in range(MOST_META_ENTRIES + 1)}

    assert errors(an_assembler().push(a_request(meta=many))) == ["InvalidArgument"]
    assert errors(an_assembler().push(a_request(meta={"k": "x" * 70_000}))) == ["InvalidArgument"]


def test_a_refusal_keeps_how_the_caller_wants_to_hear_of_it():
    [rejected] = an_assembler(max_request_bytes=1).push(a_request(meta={"error_mode": "inband"}))

    assert rejected.error_mode == "inband"


def test_meta_names_and_the_request_itself_are_charged_and_not_the_payload_alone():
    budget = a_budget(MIB)
    said = {"a": "x" * 10_000, "b": "\N{SNOWMAN}" * 1000}

    [request] = an_assembler(budget=budget).push(a_request(b"a cat", meta=said))

    assert budget.held_bytes == request.held_bytes
    assert request.held_bytes > REQUEST_OVERHEAD_BYTES + 10_000 + 4 * 1000


@pytest.mark.parametrize(("part_bytes", "value"), [(100, "x" * 20_000), (9, "v")])
def test_meta_that_grows_from_part_to_part_is_refused_at_its_bound(part_bytes, value):
    parts = parts_of(a_jpeg(900), part_bytes, meta="first", correlation_id="fat")
    for index, part in enumerate(parts):
        part.meta[f"k{index}"] = value

    outcomes = push_all(an_assembler(), parts)

    assert errors(outcomes) == ["InvalidArgument"]
    assert "the request's meta" in outcomes[0].error.message.lower()


def test_what_is_remembered_of_answered_requests_is_charged_until_half_close():
    budget = a_budget(64 * MIB)
    assembler = an_assembler(budget=budget)
    outcomes = [
        o
        for i in range(70)
        for o in push_all(assembler, parts_of(a_jpeg(9000, i), 10, correlation_id=f"{i}"))
    ]
    assert len(payloads(outcomes)) == 70
    owed = sum(o.held_bytes for o in outcomes)

    assert remembered_bytes(assembler) > 64 * 900 * 64  # so many prints of 64 bytes and more
    assert budget.held_bytes == remembered_bytes(assembler) + owed
    assembler.half_close()
    assert budget.held_bytes == owed


def test_what_is_remembered_makes_room_for_what_comes():
    budget = a_budget(600_000)
    account = budget.account()
    assembler = Assembler(ChunkLimits(budget=budget), Clock(), account)

    for i in range(20):
        pictures = push_all(assembler, parts_of(a_jpeg(3000), 30, correlation_id=f"{i}"))
        assert payloads(pictures) == [a_jpeg(3000)]
        account.give_back(pictures[0].held_bytes)

    assert budget.held_bytes == remembered_bytes(assembler)


def test_a_request_that_ends_where_the_next_one_begins_is_not_lost_when_that_one_fails():
    budget = a_budget(MIB)
    assembler = an_assembler(budget=budget)
    camera = a_jpeg(900) + b"trailer"

    outcomes = push_all(assembler, [an_image_request(camera), an_image_request(b"x", offset=7)])

    assert payloads(outcomes[:1]) == [camera]
    assert errors(outcomes[1:]) == ["InvalidArgument"]
    assert budget.held_bytes - remembered_bytes(assembler) == outcomes[0].held_bytes
