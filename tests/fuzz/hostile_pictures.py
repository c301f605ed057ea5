"""Pictures that cost far more to decode than to send: builders for tests and attacks."""

import io
import struct
import zlib
from collections.abc import Mapping

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def encoded(picture: Image.Image, container: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, container, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def a_png(width: int, height: int, bits: int = 8, colour: int = 2, between: bytes = b"") -> bytes:
    """A black PNG; `between` are chunks in front of its data."""
    row = bytes(1 + -(-width * PNG_CHANNELS[colour] * bits // 8))
    packer = zlib.compressobj(9)
    data = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    palette = png_chunk(b"PLTE", bytes(3)) if colour == 3 else b""
    return b"".join(
        (
            PNG_SIGNATURE,
            png_chunk(b"IHDR", header),
            palette,
            between,
            png_chunk(b"IDAT", data),
            png_chunk(b"IEND", b""),
        )
    )


def a_webp(width: int, height: int, padding: int = 0) -> bytes:
    """A lossless WebP of one colour: its stream is the same for every size.

    `padding` bytes after the stream's end belong to its chunk.
    """
    small = encoded(Image.new("RGB", (16, 16), (9, 80, 90)), "WEBP", lossless=True)
    body = bytearray(small[20:]) + bytes(padding)
    body[1:5] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return riff(b"VP8L" + struct.pack("<I", len(body)) + bytes(body) + bytes(len(body) % 2))


def a_webp_of_frames(width: int, height: int, count: int) -> bytes:
    """An animation of one colour whose frames are as large as its canvas."""
    size = b"".join((edge - 1).to_bytes(3, "little") for edge in (width, height))
    frame = bytes(6) + size + b"\x28\0\0\0" + a_webp(width, height)[12:]
    chunk = b"ANMF" + struct.pack("<I", len(frame)) + frame
    canvas = b"VP8X\x0a\0\0\0\x02\0\0\0" + size
    return riff(canvas + b"ANIM\6\0\0\0" + bytes(6) + chunk * count)


def packed_xmp(length: int) -> bytes:
    """A PNG's XMP that unpacks to so many bytes."""
    return png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(length), 9))


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def a_jpeg(width: int, height: int, **options: object) -> bytes:
    """A grey JPEG of one level."""
    return encoded(Image.new("L", (width, height), 90), "JPEG", **options)


def a_jpeg_in_scans(width: int, height: int, more: int) -> bytes:
    """A progressive JPEG whose last scan comes `more` times again."""
    payload = a_jpeg(width, height, progressive=True)
    tables = payload.rindex(b"\xff\xc4")
    last = payload[tables if tables > payload.rindex(b"\xff\xda") - 100 else -2 : -2]
    return payload[:-2] + last * more + b"\xff\xd9"


def an_avif(width: int, height: int, padding: int = 0) -> bytes:
    """An AVIF of one colour; `padding` bytes of a free box follow it."""
    payload = encoded(Image.new("RGB", (width, height), (9, 80, 90)), "AVIF", speed=10)
    return payload + struct.pack(">I4s", 8 + padding, b"free") + bytes(padding)


def an_avif_of_another_size(coded: tuple[int, int], declared: tuple[int, int]) -> bytes:
    """An AVIF whose container says another size than its bitstream."""
    sizes = [b"ispe\0\0\0\0" + struct.pack(">II", *size) for size in (coded, declared)]
    payload = an_avif(*coded)
    if payload.count(sizes[0]) != 1:
        raise AssertionError("the file declares its size elsewhere")
    return payload.replace(*sizes)


def an_exif_bomb(entries: int = 65_535, value_bytes: int = 60_000) -> bytes:
    """An EXIF block whose entries all point at the same bytes."""
    directory = struct.pack(">H", entries) + b"".join(
        struct.pack(">HHII", tag, 7, value_bytes, 8) for tag in range(entries)
    )
    return b"MM\0*\0\0\0\x08" + directory + bytes(value_bytes)


def expensive() -> Mapping[str, bytes]:
    """Every shape at the most that one payload may cost, by name."""
    far = 30_000
    return {
        "webp of 34 bytes": a_webp(8000, 8000),
        "webp of one colour": a_webp(6000, 6000, far),
        "png of 16-bit RGBA": a_png(8000, 8000, 16, 6),
        "png of 16-bit grey": a_png(8000, 8000, 16, 0),
        "png of empty data": a_png(300, 300, between=png_chunk(b"IDAT", b"") * 800_000),
        "png with EXIF": a_png(300, 300, between=png_chunk(b"eXIf", an_exif_bomb())),
        "png of packed XMP": a_png(300, 300, between=packed_xmp(64 << 20) * 100),
        "webp of 100,000 frames": a_webp_of_frames(3000, 3000, 100_000),
        "jpeg of 3,000 scans": a_jpeg_in_scans(1000, 1000, 3000),
        "jpeg of 90 scans": a_jpeg_in_scans(4000, 3000, 84),
        "jpeg of 200 megapixels": a_jpeg(16_320, 12_240),
        "jpeg in scans of 120 megapixels": a_jpeg(12_000, 10_000, progressive=True),
        "avif of one colour": an_avif(5000, 5000, far),
    }
