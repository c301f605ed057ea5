"""WebP: written anew with its one bitstream, which alone says how large the picture is."""

import struct
from collections.abc import Iterator

from lumen_serving.media.containers import exif
from lumen_serving.media.containers.still import Still, animated, damaged, too_many_parts

_MOST_CHUNKS = 1000
_FRAME_HEADER_BYTES = 16
_LOSSLESS_ALPHA = 0x10
# Two canvases and the decoder's own or the copy that Pillow takes, of 4 bytes a pixel each, then
# Pillow's picture and the turned one.
_BYTES_PER_PX = 20


def read(payload: bytes) -> Still:
    """Return the picture without container, alpha and metadata.

    Raises:
        BadImage: no WebP, or animated.

    """
    image = exif_block = xmp = b""
    frames = canvas_px = 0
    for kind, start, end in _chunks(payload, 12, len(payload)):
        body = payload[start:end]
        if kind == b"ANMF":
            frames += 1
            image = image or _image_of(body)
        elif kind in {b"VP8 ", b"VP8L"}:
            image = image or _bare(kind, body)
        elif kind == b"VP8X":
            canvas_px = _canvas_px(body)
        elif kind == b"EXIF":
            exif_block = exif_block or body
        elif kind == b"XMP ":
            xmp = xmp or body
    if frames > 1:
        raise animated()
    width, height = _size(image)
    if not image and not canvas_px:
        raise damaged()
    return Still(
        max(canvas_px, width * height),
        image,
        peak_bytes=_BYTES_PER_PX * width * height,
        work_px=width * height,
        orientation=exif.orientation(exif_block, xmp),
    )


def _chunks(payload: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MOST_CHUNKS):
        if at + 8 > stop:
            return
        length = int.from_bytes(payload[at + 4 : at + 8], "little")
        yield payload[at : at + 4], at + 8, min(at + 8 + length, stop)
        at += 8 + length + length % 2
    raise too_many_parts()


def _canvas_px(body: bytes) -> int:
    width, height = int.from_bytes(body[4:7], "little"), int.from_bytes(body[7:10], "little")
    return (width + 1) * (height + 1)


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
