"""Which way up a picture is, from its EXIF block or its XMP packet.

Pillow would read every entry of a block and the value of each: 65,535 entries may all point at
the same megabytes.
"""

import re
import struct

_ORIENTATION = 0x0112
_SHORT = 3
_ENTRY = 12
_UPRIGHT = 1
# Real blocks have some dozens of entries in their first directory.
_MOST_ENTRIES = 1000
_MOST_XMP_BYTES = 1 << 20
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Return 1 to 8; what cannot be read is upright, the pixels may still be good."""
    try:
        noted = _noted(exif)
    except struct.error:
        noted = None
    if noted is None:
        found = _XMP.search(xmp[:_MOST_XMP_BYTES])
        noted = int(found[1]) if found else _UPRIGHT
    return noted if 1 <= noted <= 8 else _UPRIGHT


def raw_profile(text: str) -> bytes:
    """Return the EXIF block that ImageMagick writes into a PNG as hexadecimal text.

    Behind its third line end; empty when it is none, and cut where the text is cut.
    """
    digits = "".join(text.split("\n")[3:])
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2])
    except ValueError:
        return b""


def value_bytes(exif: bytes) -> int:
    """Return how many bytes a reader copies who reads every value of the first directory."""
    try:
        order, at, count = _directory(exif)
    except struct.error:
        return 0
    entries = exif[at : at + count * _ENTRY]
    whole = len(entries) // _ENTRY * _ENTRY
    fields = struct.iter_unpack(f"{order}HHI4x", entries[:whole])
    return sum(min(_SIZES.get(kind, 1) * values, len(exif)) for _, kind, values in fields)


def _noted(exif: bytes) -> int | None:
    order, at, count = _directory(exif)
    block = exif.removeprefix(b"Exif\0\0")
    for entry in range(at, at + min(count, _MOST_ENTRIES) * _ENTRY, _ENTRY):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, entry)
        if tag == _ORIENTATION:
            return int(value) if kind == _SHORT else None
    return None


def _directory(exif: bytes) -> tuple[str, int, int]:
    """Return the byte order, where the first directory's entries begin, and how many they are."""
    block = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(block[:4])
    if order is None:
        raise struct.error
    (at,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, at)
    return order, at + 2, count
