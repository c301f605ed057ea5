"""Damaged requests: a seed in, the raw messages of one stream out, the same for the same seed.

Starts from small real pictures and real requests, since garbage alone never gets past the door.
"""

import io
import random
import struct
import zlib
from dataclasses import dataclass

from hostile_pictures import PNG_SIGNATURE, png_chunk
from PIL import Image

from lumen_wire.pb import ml_service_pb2 as pb

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
IMAGE_TASKS = ("clip_image_embed", "image_embed", "clip_classify", "classify_scene")
TEXT_TASKS = ("clip_text_embed", "embed", "smartclip_text_embed")
MIMES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "text/plain")
ODD_MIMES = (
    "",
    "IMAGE/JPEG; q=1",
    "application/octet-stream",
    "text/plain;;",
    "/",
    "\u2028",
    "x" * 300,
)
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PN": "image/png", b"RIF": "image/webp"}
ODD_NUMBERS = (0, 0, 1, 2, 3, 7, 255, 65_536, 2**31, 2**53, 2**63, 2**64 - 1)
ODD_TEXTS = (
    "",
    "0",
    "-1",
    "NaN",
    "\x00",
    "[" * 200,
    "\U0001f98b" * 40,
    "x" * 5000,
    "1e309",
    "../..",
)
META_KEYS = (
    *("topk", "top_k", "TopK", "topK", "top-k", "lumen.top_k", "service", "namespace", "labels"),
    *("label_format", "rank", "include", "score", "vector", "prompt", "embedding_space"),
    *("error_mode", "request_id", "lumen.input.kind", "lumen.tensor.dtype", "lumen.tensor.shape"),
    *("lumen.tensor.layout", "lumen.preprocess.id", "lumen.preprocess.skip"),
)
META_VALUES = (
    *("1", "5", "999999999", "path8", "scientific", "class", "class=Aves", "cosine", "f32le"),
    *("template", "inband", "status", "auto", "tensor", "fp32", "uint8", "[1,3,32,32]", "true"),
    *("[1,3,99999,99999]", "tiny-classes", "bioatlas", "NCHW"),
)


@dataclass(frozen=True, slots=True)
class Stream:
    """What one client sends; `requests` of them, and whether it leaves before the answers."""

    messages: tuple[bytes, ...]
    requests: int
    leaves_after: int | None


def a_stream(seed: str, pictures: tuple[bytes, ...]) -> Stream:
    """Return the stream of a seed: one to eight requests in mixed dialects, most damaged."""
    chance = random.Random(seed)
    count = chance.randint(1, 8)
    groups = [_dialect(chance, _request(chance, pictures), i) for i in range(count)]
    if chance.random() < 0.3:  # requests in parts that overlap in time
        messages = [message for group in groups for message in group]
        chance.shuffle(messages)
    else:
        messages = [message for group in groups for message in group]
    raw = tuple(_raw(chance, message) for message in messages)
    leaves = chance.randrange(len(raw)) if chance.random() < 0.05 else None
    return Stream(raw, count, leaves)


def small_pictures(seed: int) -> tuple[bytes, ...]:
    """Return small pictures in every format, with palettes, alpha, EXIF and odd sizes."""
    chance = random.Random(seed)
    pictures = []
    for image_format in FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "1"):
            if image_format == "JPEG" and mode in {"P", "RGBA", "1"}:
                continue
            size = (chance.randint(1, 64), chance.randint(1, 64))
            image = Image.frombytes("RGB", size, chance.randbytes(size[0] * size[1] * 3))
            buffer = io.BytesIO()
            image.convert(mode).save(buffer, image_format)
            pictures.append(buffer.getvalue())
    return (*pictures, *bombs())


def bombs() -> tuple[bytes, ...]:
    """Return files whose headers promise pictures that no server should unpack."""

    def png(width: int, height: int, data: bytes) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
        return PNG_SIGNATURE + b"".join(png_chunk(*each) for each in chunks)

    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\x00\x00" + bytes(6) + b"\x3b"
    jpeg = bytes.fromhex(
        "ffd8ffc0001108ffffffff03012200021101031101ffda000c03010002110311003f00ffd9"
    )
    return (
        png(20_000, 20_000, bytes(60_000)),
        png(2**31 - 1, 1, b""),
        png(300, 300, b"x"),
        gif,
        jpeg,
    )


def _request(chance: random.Random, pictures: tuple[bytes, ...]) -> pb.InferRequest:
    if chance.random() < 0.25:
        payload = chance.choice((b"a photo of a cat", "ein Käfer \U0001f98b".encode(), b"x" * 3000))
        task, mime = chance.choice(TEXT_TASKS), "text/plain"
    else:
        payload, task = chance.choice(pictures), chance.choice(IMAGE_TASKS)
        mime = chance.choice(("", _MAGIC.get(payload[:3], "image/gif")))
    if chance.random() < 0.6:
        payload = _damaged(chance, payload, pictures)
    if chance.random() < 0.1:
        task = chance.choice((*IMAGE_TASKS, *TEXT_TASKS, "smart_classify", "", "\x00", "x" * 400))
    if chance.random() < 0.1:
        mime = chance.choice((*MIMES, *ODD_MIMES))
    meta: dict[str, str] = {}
    while chance.random() < 0.25:
        meta[chance.choice((*META_KEYS, *ODD_TEXTS))] = chance.choice((*META_VALUES, *ODD_TEXTS))
    return pb.InferRequest(task=task, payload=payload, payload_mime=mime, meta=meta)


def _damaged(chance: random.Random, payload: bytes, pictures: tuple[bytes, ...]) -> bytes:
    """Apply one to four kinds of harm that files suffer, or that somebody does to them."""
    data = bytearray(payload)
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.3:
            _flip_bits(chance, data)
        else:
            _edit(chance, data, pictures)
    return bytes(data[:200_000])


def _edit(chance: random.Random, data: bytearray, pictures: tuple[bytes, ...]) -> None:
    at, length = chance.randrange(len(data) + 1), chance.randint(1, 64)
    match chance.randrange(7):
        case 0:
            del data[at:]
        case 1:
            del data[at : at + length]
        case 2:
            data[at:at] = chance.randbytes(length)
        case 3:
            data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"))
        case 4:
            other = chance.choice(pictures)
            data[at:] = other[chance.randrange(len(other) + 1) :]
        case 5:
            data[at:at] = data[: 3 * length]
        case _:
            data += chance.choice((b"\xff\xd9", b"trailer", bytes(100)))


def _flip_bits(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.randint(1, 16) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _dialect(chance: random.Random, request: pb.InferRequest, index: int) -> list[pb.InferRequest]:
    """Return the messages of one request: whole, in parts, as of a batch, of unknown length."""
    if chance.random() < 0.5:
        request.correlation_id = f"r{index}"
    kind = chance.randrange(6)
    if kind < 2:
        request.total = kind
        messages = [request]
    elif kind == 2:  # a batch that looks like chunks
        request.correlation_id = f"batch-{index}"
        request.seq, request.total = index, 8
        messages = [request]
    else:
        messages = _parts(chance, request, unknown_length=kind == 5)
    if chance.random() < 0.2:
        _misplace(chance, chance.choice(messages))
    return messages


def _parts(
    chance: random.Random, request: pb.InferRequest, *, unknown_length: bool
) -> list[pb.InferRequest]:
    payload = request.payload
    size = max(len(payload) // chance.randint(1, 6), 1)
    offsets = range(0, max(len(payload), 1), size)
    everywhere = chance.random() < 0.5
    parts = []
    for seq, offset in enumerate(offsets):
        part = pb.InferRequest()
        part.CopyFrom(request)
        part.payload = payload[offset : offset + size]
        part.seq, part.offset = seq, offset
        part.total = 0 if unknown_length else len(offsets)
        if seq and not everywhere:
            part.meta.clear()
        parts.append(part)
    if chance.random() < 0.2:
        chance.shuffle(parts)
    if chance.random() < 0.1:
        parts.append(chance.choice(parts))
    if chance.random() < 0.1:
        parts.pop(chance.randrange(len(parts)))
    return parts or [request]


def _misplace(chance: random.Random, message: pb.InferRequest) -> None:
    field = chance.choice(("seq", "total", "offset", "correlation_id"))
    if field == "correlation_id":
        message.correlation_id = chance.choice(("", "r0", "r1", "x" * 300, "\u202e"))
    else:
        setattr(message, field, chance.choice(ODD_NUMBERS))


def _raw(chance: random.Random, message: pb.InferRequest) -> bytes:
    raw = message.SerializeToString()
    if chance.random() < 0.02 and raw:
        damaged = bytearray(raw)
        damaged[chance.randrange(min(len(damaged), 40))] ^= 1 << chance.randrange(8)
        raw = bytes(damaged)
    return raw
