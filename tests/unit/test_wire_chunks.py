"""What wire.md says under "Chunks", and serving.md under "when a request is complete"."""

import itertools

import pytest
from wire_messages import (
    KIB,
    MIB,
    Clock,
    a_budget,
    a_jpeg,
    a_png,
    a_request,
    a_webp,
    an_assembler,
    an_avif,
    an_image_request,
    errors,
    parts_of,
    payloads,
    push_all,
)

from lumen_wire.chunks import Assembled, Rejected
from lumen_wire.part_buffer import MOST_META_ENTRIES

# Dialect 1: whole requests


def test_a_message_with_seq_total_and_offset_0_is_a_whole_request():
    outcomes = an_assembler().push(a_request(b"a cat", correlation_id="7", meta={"topk": "2"}))

    assert outcomes == [Assembled("7", "clip_text_embed", b"a cat", "text/plain", {"topk": "2"}, 5)]


def test_total_1_is_a_whole_request_whatever_it_carries():
    assert payloads(an_assembler().push(an_image_request(b"not an image", total=1))) == [
        b"not an image"
    ]


@pytest.mark.parametrize("file", [a_jpeg(), a_png(), a_webp(), an_avif()])
def test_an_image_whose_container_ends_properly_is_whole_at_once(file):
    assert payloads(an_assembler().push(an_image_request(file, payload_mime=""))) == [file]


def test_text_with_an_empty_mime_is_whole_at_once():
    assert payloads(an_assembler().push(a_request(b"a cat", payload_mime=""))) == [b"a cat"]


def test_text_for_a_second_service_is_whole_at_once():
    request = a_request(b"a cat", task="fast_text_embed", payload_mime="")

    assert payloads(an_assembler().push(request)) == [b"a cat"]


def test_mime_parameters_do_not_hide_that_a_payload_is_text():
    request = an_image_request(b"a cat", payload_mime="Text/Plain; charset=utf-8")

    assert payloads(an_assembler().push(request)) == [b"a cat"]


def test_a_tensor_is_whole_when_it_has_the_bytes_of_its_shape():
    meta = {
        "lumen.input.kind": "tensor",
        "lumen.tensor.dtype": "uint8",
        "lumen.tensor.shape": "[1,3,2,2]",
        "lumen.preprocess.skip": "true",
    }
    tensor = an_image_request(b"x" * 12, payload_mime="application/octet-stream", meta=meta)

    assert payloads(an_assembler().push(tensor)) == [b"x" * 12]


def test_several_requests_may_share_an_empty_id_one_after_the_other():
    assembler = an_assembler()
    first, second = a_jpeg(600_000, 1), a_jpeg(700_000, 2)
    messages = [*parts_of(first, 256 * KIB), *parts_of(second, 256 * KIB), a_request(b"a cat")]

    assert payloads(push_all(assembler, messages)) == [first, second, b"a cat"]


def test_the_same_picture_sent_twice_with_an_empty_id_is_answered_twice():
    picture = a_jpeg(600_000)
    messages = [*parts_of(picture, 256 * KIB), *parts_of(picture, 256 * KIB)]

    assert payloads(push_all(an_assembler(), messages)) == [picture, picture]


# Dialects 2 and 3: parts


@pytest.mark.parametrize(("part_bytes", "meta"), [(256 * KIB, "every"), (512 * KIB, "first")])
def test_parts_with_empty_ids_become_one_request_with_the_meta_of_the_first(part_bytes, meta):
    picture = a_jpeg(1_500_000)

    outcomes = push_all(an_assembler(), parts_of(picture, part_bytes, meta=meta))

    assert payloads(outcomes) == [picture]
    assert outcomes[0].meta == {"top_k": "3"}
    assert outcomes[0].mime == "image/jpeg"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_parts_are_ordered_by_seq_not_by_arrival(order):
    picture = a_jpeg(1000)
    parts = parts_of(picture, 250)

    assert payloads(push_all(an_assembler(), [parts[i] for i in order])) == [picture]


def test_meta_is_merged_and_the_lowest_seq_wins():
    parts = parts_of(a_jpeg(900), 300, meta="first", said={"top_k": "3"})
    parts[1].meta.update({"top_k": "9", "labels": "birds"})

    [request] = push_all(an_assembler(), [parts[2], parts[1], parts[0]])

    assert request.meta == {"top_k": "3", "labels": "birds"}


def test_an_identical_repeated_part_is_ignored():
    picture = a_jpeg(900)
    parts = parts_of(picture, 300)

    assert payloads(
        push_all(an_assembler(), [parts[0], parts[0], parts[1], parts[1], parts[2]])
    ) == [picture]


def test_a_part_repeated_after_its_request_was_completed_is_ignored():
    assembler = an_assembler()
    first, second = a_jpeg(900, 1), a_jpeg(900, 2)
    parts = parts_of(first, 300)

    outcomes = push_all(assembler, [*parts, parts[2], parts[1], *parts_of(second, 300)])

    assert payloads([*outcomes, *assembler.half_close()]) == [first, second]


def test_a_different_repeated_part_fails_its_request_once_and_no_other():
    assembler = an_assembler()
    parts = parts_of(a_jpeg(900), 300, correlation_id="bad")
    other = a_jpeg(900, 2)
    changed = an_image_request(b"?" * 300, seq=1, total=3, offset=300, correlation_id="bad")

    outcomes = push_all(
        assembler,
        [parts[0], parts[1], changed, parts[2], *parts_of(other, 300, correlation_id="ok")],
    )

    assert errors(outcomes[:1]) == ["InvalidArgument"]
    assert outcomes[0].error.message == "Part 1 came twice with different bytes."
    assert payloads([*outcomes[1:], *assembler.half_close()]) == [other]


def test_a_different_repeated_first_part_is_invalid():
    assembler = an_assembler()
    parts = parts_of(a_jpeg(900), 300, correlation_id="bad")
    changed = an_image_request(b"\xff\xd8\xff?", total=3, correlation_id="bad")

    outcomes = push_all(assembler, [parts[0], parts[1], changed, parts[2]])

    assert errors([*outcomes, *assembler.half_close()]) == ["InvalidArgument"]


def test_a_part_that_begins_elsewhere_than_the_one_before_it_ends_is_invalid():
    parts = parts_of(a_jpeg(900), 300)
    parts[2].offset = 601

    [rejected] = push_all(an_assembler(), parts)

    assert (
        rejected.error.message == "Part 2 begins at byte 601, but the part before it ends at 600."
    )


def test_parts_without_offsets_are_ordered_by_seq_alone():
    picture = a_jpeg(900)
    parts = parts_of(picture, 300)
    for part in parts:
        part.offset = 0

    assert payloads(push_all(an_assembler(), parts)) == [picture]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_part_missing_at_half_close_is_invalid_for_that_request_alone(missing):
    assembler = an_assembler()
    parts = [p for i, p in enumerate(parts_of(a_jpeg(900), 300)) if i != missing]

    outcomes = push_all(assembler, [*parts, a_request(b"a cat", correlation_id="other")])

    assert payloads(outcomes) == [b"a cat"]
    [rejected] = assembler.half_close()
    assert f"Part {missing} of 3 never came" in rejected.error.message


def test_a_first_part_alone_whose_container_goes_on_is_invalid_at_half_close():
    assembler = an_assembler()
    assembler.push(parts_of(a_jpeg(900), 300)[0])

    assert errors(assembler.half_close()) == ["InvalidArgument"]


def test_a_seq_that_cannot_be_among_total_is_invalid_for_that_request_alone():
    assembler = an_assembler()
    outcomes = push_all(
        assembler, [an_image_request(b"x", seq=4, total=4, offset=9), a_request(b"a cat")]
    )

    assert errors(outcomes[:1]) == ["InvalidArgument"]
    assert payloads(outcomes[1:]) == [b"a cat"]


def test_a_first_part_that_does_not_begin_at_byte_0_is_invalid():
    assert errors(an_assembler().push(an_image_request(b"x", seq=0, total=3, offset=5))) == [
        "InvalidArgument"
    ]


def test_parts_that_disagree_on_their_total_are_invalid():
    parts = parts_of(a_jpeg(900), 300)
    parts[1].total = 4

    assert errors(push_all(an_assembler(), parts[:2])) == ["InvalidArgument"]


def test_parts_that_name_different_tasks_are_invalid():
    parts = parts_of(a_jpeg(900), 300)
    parts[1].task = "clip_classify"

    assert errors(push_all(an_assembler(), parts[:2])) == ["InvalidArgument"]


def test_a_thumbnails_end_at_a_cut_is_not_the_pictures_end():
    picture = a_jpeg(2000)
    cut = picture.index(b"\xff\xd9") + 2
    parts = [
        an_image_request(picture[:cut], seq=0, total=2),
        an_image_request(picture[cut:], seq=1, total=2, offset=cut),
    ]

    assert payloads(push_all(an_assembler(), parts)) == [picture]


# Dialect 4: a batch that looks like chunks


def test_a_batch_with_own_ids_and_offset_0_is_whole_requests():
    pictures = [a_jpeg(900, seed) for seed in range(4)]
    batch = [
        an_image_request(picture, correlation_id=f"img-{seq}", seq=seq, total=4)
        for seq, picture in enumerate(pictures)
    ]

    assert payloads(push_all(an_assembler(), batch)) == pictures


def test_a_message_with_seq_above_0_offset_0_and_no_open_buffer_stands_alone():
    assert payloads(an_assembler().push(an_image_request(b"no end", seq=2, total=5))) == [b"no end"]


# Dialect 5: unknown length


def test_parts_of_unknown_number_end_at_half_close():
    assembler = an_assembler()
    file = b"no container that we know" * 40
    outcomes = push_all(assembler, parts_of(file, 300, total=0, meta="first"))

    assert outcomes == []
    assert payloads(assembler.half_close()) == [file]


def test_parts_of_unknown_number_are_answered_when_their_container_has_ended():
    for picture in (a_jpeg(900), a_png(900), a_webp(900)):
        assert payloads(push_all(an_assembler(), parts_of(picture, 250, total=0))) == [picture]


def test_a_gap_among_parts_of_unknown_number_is_invalid_at_half_close():
    assembler = an_assembler()
    parts = parts_of(b"x" * 900, 300, total=0)
    push_all(assembler, [parts[0], parts[2]])

    [rejected] = assembler.half_close()

    assert rejected.error.message == "Part 1 never came; send all parts of a request."


def test_a_new_request_with_the_same_empty_id_ends_one_of_unknown_length():
    assembler = an_assembler()
    first, second = b"x" * 900, b"y" * 900
    outcomes = push_all(assembler, parts_of(first, 300, total=0) + parts_of(second, 300, total=0))

    assert payloads([*outcomes, *assembler.half_close()]) == [first, second]


# Silence


def test_an_image_without_its_end_is_taken_as_whole_after_250_ms_of_silence():
    clock = Clock()
    assembler = an_assembler(clock)
    assert assembler.push(an_image_request(b"no container")) == []

    assert assembler.next_expiry() == clock.now + 0.25
    assert assembler.expire(clock.now + 0.249) == []
    assert payloads(assembler.expire(clock.now + 0.25)) == [b"no container"]
    assert assembler.next_expiry() is None


def test_silence_is_that_of_the_stream_not_of_the_request():
    clock = Clock()
    assembler = an_assembler(clock)
    assembler.push(an_image_request(b"no container"))
    clock.now += 0.2
    assembler.push(a_request(b"a cat", correlation_id="other"))

    assert assembler.next_expiry() == clock.now + 0.25


def test_not_being_read_is_no_silence():
    clock = Clock()
    assembler = an_assembler(clock)
    assembler.push(an_image_request(b"no container"))
    clock.now += 5
    assembler.heard()

    assert assembler.next_expiry() == clock.now + 0.25


def test_a_camera_jpeg_with_bytes_after_its_end_is_taken_as_whole_by_half_close():
    assembler = an_assembler()
    picture = a_jpeg(900) + b"maker's trailer"

    assert assembler.push(an_image_request(picture)) == []
    assert payloads(assembler.half_close()) == [picture]


def test_a_camera_jpeg_is_taken_as_whole_when_the_next_request_comes_with_the_same_empty_id():
    assembler = an_assembler()
    first, second = a_jpeg(900, 1) + b"trailer", a_jpeg(900, 2) + b"trailer"

    outcomes = push_all(assembler, [an_image_request(first), an_image_request(second)])

    assert payloads([*outcomes, *assembler.half_close()]) == [first, second]


def test_a_first_part_on_a_slow_line_is_not_taken_as_whole():
    clock = Clock()
    assembler = an_assembler(clock)
    picture = a_jpeg(900_000)
    parts = parts_of(picture, 256 * KIB)
    assembler.push(parts[0])
    clock.now += 3

    assert assembler.expire(clock.now) == []
    assert payloads(push_all(assembler, parts[1:])) == [picture]


def test_parts_that_stop_coming_fail_their_request_in_the_end():
    clock = Clock()
    assembler = an_assembler(clock)
    push_all(assembler, parts_of(a_jpeg(900), 300)[:2])

    assert errors(assembler.expire(clock.now + 30)) == ["InvalidArgument"]
    assert assembler.buffered_bytes == 0


# Bounds


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
    assert assembler.buffered_bytes == 0
    assert payloads(assembler.push(a_request(b"a cat"))) == [b"a cat"]


def test_one_byte_above_the_limit_is_refused_and_the_limit_itself_is_taken():
    assembler = an_assembler(max_request_bytes=100)

    assert payloads(assembler.push(a_request(b"x" * 100))) == [b"x" * 100]
    assert errors(assembler.push(a_request(b"x" * 101))) == ["InvalidArgument"]


def test_an_offset_beyond_the_limit_is_refused_before_the_bytes_arrive():
    [rejected] = an_assembler().push(an_image_request(b"x", seq=9, total=10, offset=50 * MIB))

    assert "exceeds 52428800 bytes" in rejected.error.message


def test_what_still_comes_of_a_refused_request_is_ignored():
    assembler = an_assembler(max_request_bytes=500)
    outcomes = push_all(assembler, parts_of(a_jpeg(2000), 300))

    assert errors([*outcomes, *assembler.half_close()]) == ["InvalidArgument"]


def test_an_excessive_whole_request_does_not_harm_an_open_one_of_the_same_empty_id():
    assembler = an_assembler(max_request_bytes=1000)
    picture = a_jpeg(900)
    parts = parts_of(picture, 300)

    outcomes = push_all(assembler, [parts[0], a_request(b"x" * 1001), *parts[1:]])

    assert errors(outcomes[:1]) == ["InvalidArgument"]
    assert payloads(outcomes[1:]) == [picture]


def test_a_stream_with_too_many_open_requests_refuses_the_next():
    assembler = an_assembler(max_open=2)
    outcomes = push_all(
        assembler,
        [parts_of(a_jpeg(900), 300, correlation_id=f"{i}")[0] for i in range(3)],
    )

    assert errors(outcomes) == ["ResourceExhausted"]
    assert assembler.open_count == 2


def test_undecided_whole_files_make_room_for_others():
    assembler = an_assembler(max_open=2)
    camera = [a_jpeg(900, i) + b"trailer" for i in range(3)]
    outcomes = push_all(
        assembler, [an_image_request(p, correlation_id=f"{i}") for i, p in enumerate(camera)]
    )

    assert payloads(outcomes) == camera[:1]


def test_more_parts_than_any_client_needs_are_refused():
    assembler = an_assembler(max_parts=3)

    assert errors(push_all(assembler, parts_of(a_jpeg(900), 200))) == ["InvalidArgument"]


def test_the_budget_is_shared_by_streams_and_refuses_what_exceeds_it():
    budget = a_budget(2000)
    first, second = an_assembler(budget=budget), an_assembler(budget=budget)
    push_all(first, parts_of(a_jpeg(1200), 600)[:1])

    outcomes = second.push(a_request(b"x" * 1500))

    assert errors(outcomes) == ["ResourceExhausted"]
    assert outcomes[0].error.retry_after_ms == 1000


def test_the_budget_gets_back_what_an_assembler_held():
    budget = a_budget(MIB)
    assembler = an_assembler(budget=budget)
    picture = a_jpeg(900)
    [request] = push_all(assembler, parts_of(picture, 300))
    push_all(assembler, parts_of(a_jpeg(900), 300, correlation_id="left open")[:2])

    assert request.held_bytes == len(picture)
    assembler.close()
    budget.give_back(request.held_bytes)
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
    parts = parts_of(a_jpeg(900), 9, meta="first")
    for index, part in enumerate(parts):
        part.meta[f"k{index}"] = "v"
    assert errors(push_all(an_assembler(), parts)[:1]) == ["InvalidArgument"]


def test_a_refusal_keeps_how_the_caller_wants_to_hear_of_it():
    [rejected] = an_assembler(max_request_bytes=1).push(a_request(meta={"error_mode": "inband"}))

    assert rejected.error_mode == "inband"
