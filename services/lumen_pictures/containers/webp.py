"""WebP: written anew with its one bitstream, which alone says how large the picture is."""

import struct
from collections.abc import Iterator

from lumen_pictures.containers import exif
from lumen_pictures.refusals import damaged, too_many_parts
from lumen_pictures.still import Still

Span = tuple[int, int]

_FIRST_CHUNKS = 1000
# The least that a frame of an animation takes.
_LEAST_CHUNK_BYTES = 128
_CANVAS_BYTES = 10
_FRAME_HEADER_BYTES = 16
_LOSSLESS_ALPHA = 0x10
# Two canvases and the decoder's own or the copy that Pillow takes, of 4 bytes a pixel each, then
# Pillow's picture and the turned one.
_BYTES_PER_PX = 20
# The whole that a part is put into, turned.
_BYTES_PER_WHOLE_PX = 8


def read(payload: bytes) -> Still:
    """Return the picture, or an animation's first, without container, alpha and metadata.

    Raises:
        PictureRefused: no WebP, or in more chunks than pictures have.

    """
    parts: dict[bytes, Span] = {}
    for kind, start, end in _chunks(payload, 12, len(payload)):
        parts.setdefault(kind, (start, end))
    image, corner = _first_image(payload, parts)
    canvas = _canvas(payload[slice(*parts.get(b"VP8X", (0, 0)))])
    size = _size(image)
    if not image and canvas is None:
        raise damaged()
    whole = canvas or size
    part = corner is not None and (size != whole or corner != (0, 0))
    px = max(whole[0] * whole[1], size[0] * size[1])
    return Still(
        px,
        image,
        peak_bytes=_BYTES_PER_PX * size[0] * size[1] + (_BYTES_PER_WHOLE_PX * px if part else 0),
        work_px=size[0] * size[1],
        orientation=exif.orientation(
            payload[slice(*parts.get(b"EXIF", (0, 0)))], payload[slice(*parts.get(b"XMP ", (0, 0)))]
        ),
        canvas=(*whole, *corner) if part and corner else None,
    )


def _first_image(payload: bytes, parts: dict[bytes, Span]) -> tuple[bytes, tuple[int, int] | None]:
    """Return a file of the bitstream alone and, of a frame, (left, top) of it in the whole."""
    for kind in (b"VP8 ", b"VP8L"):
        if kind in parts:
            return _bare(kind, payload[slice(*parts[kind])]), None
    frame = payload[slice(*parts.get(b"ANMF", (0, 0)))]
    if len(frame) < _FRAME_HEADER_BYTES:
        return b"", None
    left, top = (2 * int.from_bytes(frame[at : at + 3], "little") for at in (0, 3))
    return _image_of(frame), (left, top)


def _chunks(payload: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_FIRST_CHUNKS + len(payload) // _LEAST_CHUNK_BYTES):
        if at + 8 > stop:
            return
        length = int.from_bytes(payload[at + 4 : at + 8], "little")
        yield payload[at : at + 4], at + 8, min(at + 8 + length, stop)
        at += 8 + length + length % 2
    raise too_many_parts()


def _canvas(body: bytes) -> tuple[int, int] | None:
    """Return (width, height) of the whole; None where the container says none."""
    if len(body) < _CANVAS_BYTES:
        return None
    return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1


def _image_of(frame: bytes) -> bytes:
    for kind, start, end in _chunks(frame, _FRAME_HEADER_BYTES, len(frame)):
        if kind in {b"VP8 ", b"VP8L"}:
            return _bare(kind, frame[start:end])
    return b""


def _bare(kind: bytes, body: bytes) -> bytes:
    """Return a file of that bitstream alone; alpha is dropped when a picture becomes RGB."""
    if kind == b"VP8L" and len(body) >= 5:
        body = body[:4] + bytes([body[4] & ~_LOSSLESS_ALPHA]) + body[5:]
    padding = b"\0" * (len(body) % 2)
    chunk = kind + struct.pack("<I", len(body)) + body + padding
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _size(image: bytes) -> tuple[int, int]:
    """Return (width, height) of the bitstream; (0, 0) when it is cut off."""
    kind, body = image[12:16], image[20:30]
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0
