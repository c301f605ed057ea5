"""How the messages of a stream become requests, dialect by dialect; `replayed` proves any order."""

from typing import NamedTuple

import pytest
from wire_messages import (
    KIB,
    MIB,
    a_jpeg,
    a_png,
    a_request,
    a_webp,
    an_assembler,
    an_avif,
    an_image_request,
    parts_of,
    payloads,
    push_all,
)

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import Assembled, Outcome

PICTURE, OTHER = a_jpeg(900, 1), a_jpeg(900, 2)
BIG = a_jpeg(600_000)
UNKNOWN = b"no container that we know" * 40
PARTS = parts_of(PICTURE, 300)
THUMBNAIL_END = a_jpeg(2000).index(b"\xff\xd9") + 2


def parts_with(part: int, **changes: object) -> list[pb.InferRequest]:
    """The three parts of a picture, one of which says something else."""
    parts = parts_of(PICTURE, 300, correlation_id="bad")
    for name, value in changes.items():
        setattr(parts[part], name, value)
    return parts


def without_offsets(parts: list[pb.InferRequest]) -> list[pb.InferRequest]:
    for part in parts:
        part.offset = 0
    return parts


class Told(NamedTuple):
    """What comes of messages: payloads, or words of a refusal; at once, and at half-close."""

    messages: list[pb.InferRequest]
    at_once: list[bytes | str]
    at_half_close: list[bytes | str] = []  # noqa: RUF012  (never changed)
    limits: dict[str, int] = {}  # noqa: RUF012  (never changed)


TOLD = {
    "the same picture twice with an empty id is two requests": Told(
        [*parts_of(BIG, 256 * KIB), *parts_of(BIG, 256 * KIB)], [BIG, BIG]
    ),
    "a part repeated after its request was completed is ignored": Told(
        [*PARTS, PARTS[2], PARTS[1], *parts_of(OTHER, 300)], [PICTURE, OTHER]
    ),
    "a different repeated part fails its request once and no other": Told(
        [
            *parts_with(0)[:2],
            parts_with(1, payload=b"?" * 300)[1],
            parts_with(0)[2],
            *parts_of(OTHER, 300, correlation_id="ok"),
        ],
        ["InvalidArgument: Part 1 came twice with different bytes.", OTHER],
    ),
    "a different repeated first part does so too": Told(
        [*parts_with(0)[:2], parts_with(0, payload=b"\xff\xd8\xff?")[0], parts_with(0)[2]],
        ["InvalidArgument: Part 0 came twice with different bytes."],
    ),
    "a part that begins elsewhere than the one before it ends": Told(
        parts_with(2, offset=601),
        ["InvalidArgument: Part 2 begins at byte 601, but the part before it ends at 600."],
    ),
    "a first part that begins beyond byte 0": Told(
        [an_image_request(b"x", total=3, offset=5)], ["InvalidArgument: The first part (seq 0)"]
    ),
    "parts that disagree on their total": Told(
        parts_with(1, total=4)[:2], ["InvalidArgument: Parts of this request say total 3 and 4."]
    ),
    "parts that name different tasks": Told(
        parts_with(1, task="clip_classify")[:2], ["InvalidArgument: The parts of this request"]
    ),
    "parts without offsets are ordered by seq alone": Told(
        without_offsets(parts_of(PICTURE, 300)), [PICTURE]
    ),
    **{
        f"part {missing} that never comes fails its request alone": Told(
            [
                *(part for part in parts_of(PICTURE, 300) if part.seq != missing),
                a_request(b"a cat", correlation_id="other"),
            ],
            [b"a cat"],
            [f"InvalidArgument: Part {missing} of 3 never came"],
        )
        for missing in range(3)
    },
    "a first part alone whose container goes on": Told(
        PARTS[:1], [], ["InvalidArgument: Part 1 of 3 never came"]
    ),
    "a seq that cannot be among total fails alone": Told(
        [an_image_request(b"x", seq=4, total=4, offset=9), a_request(b"a cat")],
        ["InvalidArgument: Part 4 cannot be one of 4", b"a cat"],
    ),
    "a thumbnail's end at a cut is not the picture's end": Told(
        parts_of(a_jpeg(2000), THUMBNAIL_END), [a_jpeg(2000)]
    ),
    "a seq above 0 with offset 0 and nothing open stands alone": Told(
        [an_image_request(b"no end", seq=2, total=5)], [b"no end"]
    ),
    "parts of unknown number end at half-close": Told(
        parts_of(UNKNOWN, 300, total=0, meta="first"), [], [UNKNOWN]
    ),
    **{
        f"parts of unknown number end where their {name} does": Told(
            parts_of(file, 250, total=0), [file]
        )
        for name, file in (("jpeg", PICTURE), ("png", a_png(900)), ("webp", a_webp(900)))
    },
    "a gap among parts of unknown number": Told(
        [part for part in parts_of(b"x" * 900, 300, total=0) if part.seq != 1],
        [],
        ["InvalidArgument: Part 1 never came; send all parts of a request."],
    ),
    "a new request with the same empty id ends one of unknown length": Told(
        parts_of(b"x" * 900, 300, total=0) + parts_of(b"y" * 900, 300, total=0),
        [b"x" * 900],
        [b"y" * 900],
    ),
    "a camera's picture with bytes after its end is whole at half-close": Told(
        [an_image_request(PICTURE + b"maker's trailer")], [], [PICTURE + b"maker's trailer"]
    ),
    "and when the next request comes with the same empty id": Told(
        [an_image_request(PICTURE + b"trailer"), an_image_request(OTHER + b"trailer")],
        [PICTURE + b"trailer"],
        [OTHER + b"trailer"],
    ),
    "one byte above the limit is refused, the limit itself is taken": Told(
        [a_request(b"x" * 100), a_request(b"x" * 101)],
        [b"x" * 100, "InvalidArgument: The payload exceeds 100 bytes"],
        limits={"max_request_bytes": 100},
    ),
    "an offset beyond the limit is refused before the bytes arrive": Told(
        [an_image_request(b"x", seq=9, total=10, offset=50 * MIB)],
        ["InvalidArgument: The payload exceeds 52428800 bytes"],
    ),
    "what still comes of a refused request is ignored": Told(
        parts_of(a_jpeg(2000), 300),
        ["InvalidArgument: The payload exceeds 500 bytes"],
        limits={"max_request_bytes": 500},
    ),
    "an excessive whole request does no harm to an open one of its empty id": Told(
        [PARTS[0], a_request(b"x" * 1001), *PARTS[1:]],
        ["InvalidArgument: The payload exceeds 1000 bytes", PICTURE],
        limits={"max_request_bytes": 1000},
    ),
    "more parts than any client needs": Told(
        parts_of(PICTURE, 200),
        ["InvalidArgument: A request may have at most 3 parts"],
        limits={"max_parts": 3},
    ),
    "too many open requests refuse the next": Told(
        [parts_of(PICTURE, 300, correlation_id=name)[0] for name in "abc"],
        ["ResourceExhausted: 2 requests in parts are open"],
        ["InvalidArgument: Part 1 of 3 never came"] * 2,
        limits={"max_open": 2},
    ),
    "undecided whole files make room for others": Told(
        [an_image_request(PICTURE + name.encode(), correlation_id=name) for name in "abc"],
        [PICTURE + b"a"],
        [PICTURE + b"b", PICTURE + b"c"],
        limits={"max_open": 2},
    ),
}


def told(outcomes: list[Outcome], expected: list[bytes | str]) -> list[bytes | str]:
    """Return what outcomes say, refusals as far as it is expected."""
    said = [
        one.payload
        if isinstance(one, Assembled)
        else f"{type(one.error).__name__}: {one.error.message}"
        for one in outcomes
    ]
    lengths = [len(one) for one in expected] + [None] * len(said)
    return [
        one[:length] if isinstance(one, str) else one
        for one, length in zip(said, lengths, strict=False)
    ]


@pytest.mark.parametrize("case", TOLD.values(), ids=TOLD.keys())
def test_messages_become_requests_or_refusals(case):
    assembler = an_assembler(**case.limits)

    at_once = push_all(assembler, case.messages)
    assert told(at_once, case.at_once) == case.at_once
    assert told(assembler.half_close(), case.at_half_close) == case.at_half_close


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


@pytest.mark.parametrize(("part_bytes", "meta"), [(256 * KIB, "every"), (512 * KIB, "first")])
def test_parts_with_empty_ids_become_one_request_with_the_meta_of_the_first(part_bytes, meta):
    picture = a_jpeg(1_500_000)

    outcomes = push_all(an_assembler(), parts_of(picture, part_bytes, meta=meta))

    assert payloads(outcomes) == [picture]
    assert outcomes[0].meta == {"top_k": "3"}
    assert outcomes[0].mime == "image/jpeg"


def test_meta_is_merged_and_the_lowest_seq_wins():
    parts = parts_of(PICTURE, 300, meta="first", said={"top_k": "3"})
    parts[1].meta.update({"top_k": "9", "labels": "birds"})

    [request] = push_all(an_assembler(), [parts[2], parts[1], parts[0]])

    assert request.meta == {"top_k": "3", "labels": "birds"}
