"""Builders of messages and tiny files for the tests of lumen_wire; no picture is decodable."""

import random

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import ByteBudget
from lumen_wire.request.chunks import Assembled, Assembler, ChunkLimits, Outcome, Rejected

KIB = 1024
MIB = 1024 * 1024


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def an_assembler(clock: Clock | None = None, **limits: object) -> Assembler:
    return Assembler(ChunkLimits(**limits), clock or Clock())  # type: ignore[arg-type]


def a_budget(limit_bytes: int) -> ByteBudget:
    return ByteBudget(limit_bytes)


def buffered_bytes(assembler: Assembler) -> int:
    """Return what open requests hold of the budget."""
    return sum(buffer.charged_bytes for buffer in assembler._open.values())


def remembered_bytes(assembler: Assembler) -> int:
    """Return what the budget is charged for requests that are over."""
    return sum(past.charged_bytes for past in assembler._past._by_id.values())


def a_request(payload: bytes = b"a cat", **fields: object) -> pb.InferRequest:
    """A whole text request, unless told otherwise."""
    values: dict[str, object] = {"task": "clip_text_embed", "payload_mime": "text/plain"}
    return pb.InferRequest(**{**values, "payload": payload, **fields})  # type: ignore[arg-type]


def an_image_request(payload: bytes, **fields: object) -> pb.InferRequest:
    return a_request(
        payload, **{"task": "clip_image_embed", "payload_mime": "image/jpeg", **fields}
    )


def a_jpeg(size: int = 1000, seed: int = 1) -> bytes:
    """Bytes with a JPEG's segments, a thumbnail with an end of its own, one scan, and EOI."""
    noise = random.Random(seed).randbytes(max(size, 64)).replace(b"\xff", b"\xfe")
    thumbnail = b"\xff\xd8\xff\xda" + noise[:16] + b"\xff\xd9"
    exif = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    head = b"\xff\xd8" + exif + b"\xff\xda\x00\x02"
    return head + noise[: max(size - len(head) - 2, 1)] + b"\xff\xd9"


def a_png(size: int = 1000) -> bytes:
    end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + b"x" * max(size - 8 - len(end), 1) + end


def a_webp(size: int = 1000) -> bytes:
    body = b"WEBPVP8 " + b"x" * (size - 16)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def an_avif(size: int = 1000) -> bytes:
    ftyp = (16).to_bytes(4, "big") + b"ftypavif" + b"\x00" * 4
    rest = size - len(ftyp)
    return ftyp + rest.to_bytes(4, "big") + b"mdat" + b"x" * (rest - 8)


def parts_of(
    payload: bytes,
    part_bytes: int,
    *,
    meta: str = "every",
    total: int | None = None,
    **fields: object,
) -> list[pb.InferRequest]:
    """`payload` cut; `meta` is said on every part or on the first alone; total 0: unknown."""
    cuts = range(0, len(payload), part_bytes)
    said = fields.pop("said", {"top_k": "3"})
    return [
        an_image_request(
            payload[offset : offset + part_bytes],
            seq=seq,
            total=len(cuts) if total is None else total,
            offset=offset,
            **{**fields, "meta": said if meta == "every" or seq == 0 else {}},
        )
        for seq, offset in enumerate(cuts)
    ]


def push_all(assembler: Assembler, messages: list[pb.InferRequest]) -> list[Outcome]:
    return [outcome for message in messages for outcome in assembler.push(message)]


def payloads(outcomes: list[Outcome]) -> list[bytes]:
    assert all(isinstance(o, Assembled) for o in outcomes), outcomes
    return [o.payload for o in outcomes if isinstance(o, Assembled)]


def errors(outcomes: list[Outcome]) -> list[str]:
    assert all(isinstance(o, Rejected) for o in outcomes), outcomes
    return [type(o.error).__name__ for o in outcomes if isinstance(o, Rejected)]
