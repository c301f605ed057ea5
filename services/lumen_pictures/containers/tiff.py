"""TIFF: what its first directory says, before a library reads every value of it."""

import struct

from lumen_pictures.containers import exif
from lumen_pictures.refusals import PictureRefused, too_many_parts

BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SHORT = 3
_MOST_ENTRIES = 1000
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 0x0100, 0x0101, 0x0142, 0x0143
# A tile may reach beyond a small picture.
_USUAL_TILE = 4096


def numbers(payload: bytes) -> dict[int, int]:
    """Return the first value of each entry, as if all were numbers; empty where none are read."""
    order = BYTE_ORDERS.get(payload[:4], "<")
    found: dict[int, int] = {}
    try:
        (at,) = struct.unpack_from(f"{order}I", payload, 4)
        (count,) = struct.unpack_from(f"{order}H", payload, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_ENTRIES), 12):
            tag, kind = struct.unpack_from(f"{order}HH", payload, entry)
            layout = order + ("H" if kind == _SHORT else "I")
            found[tag] = struct.unpack_from(layout, payload, entry + 8)[0]
    except struct.error:
        return found
    return found


def check(payload: bytes) -> None:
    """Refuse what would cost a reader far more than the file's bytes and its pixels.

    Raises PictureRefused.
    """
    # A reader copies each value; no honest ones overlap.
    if exif.value_bytes(payload) > 2 * len(payload):
        raise too_many_parts()
    found = numbers(payload)
    for tile, edge in ((_TILE_WIDTH, _WIDTH), (_TILE_HEIGHT, _HEIGHT)):
        if found.get(tile, 0) > max(_USUAL_TILE, 2 * found.get(edge, 0)):
            raise PictureRefused(
                "The TIFF's tiles are far larger than its picture. Save it again without tiles."
            )
