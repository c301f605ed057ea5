"""PNG: written anew with one header, one palette and one run of data; all else is left out."""

import struct
from collections.abc import Iterator

from lumen_serving.media.containers import exif
from lumen_serving.media.containers.still import Still, animated, damaged, too_many_parts

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_BYTES = 13
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
_FIRST_PIECES = 1000
# libpng writes its data in chunks of 8 KiB.
_LEAST_PIECE_BYTES = 2048
# Pillow's picture has 4 bytes a pixel for any colour; made RGB or turned, there are two of them.
_BYTES_PER_PX = 8
_RAW_PROFILE = b"Raw profile type exif\0"
_XMP = b"XML:com.adobe.xmp\0"


def read(payload: bytes) -> Still:
    """Return the picture without its metadata.

    Raises:
        BadImage: no PNG, animated, or in more chunks than pictures have.

    """
    header, palette, exif_block, xmp = b"", b"", b"", b""
    data: list[bytes] = []
    for kind, start, end in _chunks(payload):
        if kind == b"IHDR":
            header = header or payload[start - 8 : end + 4]
        elif kind == b"PLTE":
            palette = palette or payload[start - 8 : end + 4]
        elif kind == b"IDAT":
            data.append(payload[start:end])
        elif kind == b"acTL" and int.from_bytes(payload[start : start + 4], "big") > 1:
            raise animated()
        elif kind == b"eXIf":
            exif_block = payload[start:end]
        elif kind == b"tEXt" and payload.startswith(_RAW_PROFILE, start):
            exif_block = exif_block or _raw_profile(payload[start:end])
        elif kind == b"iTXt" and payload.startswith(_XMP, start):
            xmp = payload[start:end]
    if len(header) < 12 + _IHDR_BYTES or not data:
        raise damaged()
    width, height = struct.unpack_from(">II", header, 8)
    run = struct.pack(">I", sum(map(len, data))) + b"IDAT"
    # Pillow checks the sums of the header and the palette, and not those of the data.
    encoded = b"".join((_SIGNATURE, header, palette, run, *data, bytes(4), _END))
    return Still(
        width * height,
        encoded,
        peak_bytes=_BYTES_PER_PX * width * height,
        work_px=width * height,
        orientation=exif.orientation(exif_block, xmp),
    )


def _chunks(payload: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each body; a cut one ends at the last byte."""
    at, most = len(_SIGNATURE), _FIRST_PIECES + len(payload) // _LEAST_PIECE_BYTES
    for _ in range(most):
        length, kind = int.from_bytes(payload[at : at + 4], "big"), payload[at + 4 : at + 8]
        if kind == b"IEND" or not kind.isalpha() or len(kind) < 4:
            return
        start, at = at + 8, at + 12 + length
        yield kind, start, min(start + length, len(payload))
    raise too_many_parts()


def _raw_profile(text: bytes) -> bytes:
    """Return the EXIF that ImageMagick writes as hexadecimal text; empty when it is none."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return b""
