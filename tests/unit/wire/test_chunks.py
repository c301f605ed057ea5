"""How the messages of a stream become requests, dialect by dialect."""

import pytest
from wire_messages import (
    KIB,
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

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import Assembled

# Dialect 1: whole requests


def test_a_message_with_seq_total_and_offset_0_is_a_whole_request():
    outcomes = an_assembler().push(a_request(b"a cat", correlation_id="7", meta={"topk": "2"}))

    assert outcomes == [Assembled("7", "clip_text_embed", b"a cat", "text/plain", {"topk": "2"}, 5)]


@pytest.mark.parametrize(
    "message",
    [
        an_image_request(b"not an image", total=1),
        a_request(payload_mime=""),
        a_request(payload_mime="", task="fast_text_embed"),
        an_image_request(b"a cat", payload_mime="Text/Plain; charset=utf-8"),
        *(an_image_request(file(), payload_mime="") for file in (a_jpeg, a_png, a_webp, an_avif)),
    ],
    ids=["total 1", "text", "second service", "mime parameters", "jpeg", "png", "webp", "avif"],
)
def test_what_its_total_its_text_or_its_container_shows_to_be_whole_is_so_at_once(message):
    assert payloads(an_assembler().push(message)) == [message.payload]


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


def test_meta_is_merged_and_the_lowest_seq_wins():
    parts = parts_of(a_jpeg(900), 300, meta="first", said={"top_k": "3"})
    parts[1].meta.update({"top_k": "9", "labels": "birds"})

    [request] = push_all(an_assembler(), [parts[2], parts[1], parts[0]])

    assert request.meta == {"top_k": "3", "labels": "birds"}


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


def test_a_part_that_begins_elsewhere_than_the_one_before_it_ends_is_invalid():
    [rejected] = push_all(an_assembler(), parts_with(2, offset=601))

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


def parts_with(part: int, **changes: object) -> list[pb.InferRequest]:
    """The three parts of a picture, one of which says something else."""
    parts = parts_of(a_jpeg(900), 300, correlation_id="bad")
    for name, value in changes.items():
        setattr(parts[part], name, value)
    return parts


@pytest.mark.parametrize(
    "messages",
    [
        [an_image_request(b"x", seq=0, total=3, offset=5)],
        parts_with(1, total=4)[:2],
        parts_with(1, task="clip_classify")[:2],
        [*parts_with(0)[:2], parts_with(0, payload=b"\xff\xd8\xff?")[0], parts_with(0)[2]],
    ],
    ids=["first beyond byte 0", "totals", "tasks", "another first"],
)
def test_parts_that_contradict_each_other_are_invalid(messages):
    assembler = an_assembler()
    outcomes = push_all(assembler, messages)

    assert errors([*outcomes, *assembler.half_close()]) == ["InvalidArgument"]


def test_a_thumbnails_end_at_a_cut_is_not_the_pictures_end():
    picture = a_jpeg(2000)
    cut = picture.index(b"\xff\xd9") + 2
    parts = [
        an_image_request(picture[:cut], seq=0, total=2),
        an_image_request(picture[cut:], seq=1, total=2, offset=cut),
    ]

    assert payloads(push_all(an_assembler(), parts)) == [picture]


# Dialect 4: a batch that looks like chunks


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
