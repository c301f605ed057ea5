"""PNG: written anew with one header, one palette and one run of data; all else is left out."""

import struct
import zlib
from collections.abc import Iterator

from lumen_pictures.containers import exif
from lumen_pictures.refusals import damaged, too_many_parts
from lumen_pictures.still import Still

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_BYTES = 13
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
_FIRST_PIECES = 1000
# libpng writes its data in chunks of 8 KiB.
_LEAST_PIECE_BYTES = 2048
# Pillow's picture has 4 bytes a pixel for any colour; made RGB or turned, there are two of them.
_BYTES_PER_PX = 8
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_MOST_TEXT_BYTES = 1 << 20
_RAW_PROFILE = b"Raw profile type exif\0"
_XMP = b"XML:com.adobe.xmp\0"


def read(payload: bytes) -> Still:
    """Return the picture without its metadata; of an animation, what shows where nothing moves.

    Raises:
        PictureRefused: no PNG, or in more chunks than pictures have.

    """
    header = palette = exif_block = b""
    texts: dict[bytes, bytes] = {}
    data: list[bytes] = []
    for kind, start, end in _chunks(payload):
        if kind == b"IHDR":
            header = header or payload[start - 8 : end + 4]
        elif kind == b"PLTE":
            palette = palette or payload[start - 8 : end + 4]
        elif kind == b"IDAT":
            data.append(payload[start:end])
        elif kind == b"eXIf":
            exif_block = payload[start:end]
        elif kind in _TEXTS:
            # The first alone is unpacked, also where it is damaged.
            for key in (_RAW_PROFILE, _XMP):
                if payload.startswith(key, start) and key not in texts:
                    texts[key] = _text(kind, payload[start:end])
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
        orientation=exif.orientation(
            exif_block or exif.raw_profile(texts.get(_RAW_PROFILE, b"").decode("latin-1")),
            texts.get(_XMP, b""),
        ),
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


def _text(kind: bytes, body: bytes) -> bytes:
    """Return the text of a chunk behind its keyword, unpacked up to a bound; empty if damaged."""
    _, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return rest
    packed = kind == b"zTXt" or rest[:1] == b"\1"
    # How it is packed; in iTXt whether it is, then a language and the keyword in it.
    rest = rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest[1:]
    try:
        return zlib.decompressobj().decompress(rest, _MOST_TEXT_BYTES) if packed else rest
    except zlib.error:
        return b""
