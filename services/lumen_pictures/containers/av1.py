"""AV1: how large the frames of one coded item are, by its sequence headers."""

from collections.abc import Iterator
from dataclasses import dataclass

_SEQUENCE_HEADER = 1
_FRAME_HEADER, _FRAME = 3, 6
_MOST_UNITS = 1000


@dataclass(frozen=True, slots=True)
class Coded:
    """The largest frame that an item's sequence headers allow, and how many frames it has."""

    width: int
    height: int
    frames: int


def read(item: bytes) -> Coded | None:
    """Return what an item's units say; None when it has no header that can be read, or too many."""
    width = height = frames = 0
    for units, (kind, start, end) in enumerate(_units(item)):
        if units == _MOST_UNITS:
            return None
        if kind == _SEQUENCE_HEADER:
            size = _size(_Bits(item[start : min(end, start + 256)]))
            if size is None:
                return None
            width, height = max(width, size[0]), max(height, size[1])
        elif kind in {_FRAME_HEADER, _FRAME}:
            frames += 1
    return Coded(width, height, frames) if width and frames else None


def _units(item: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, start, end) of each unit's body; one without a size is the last."""
    at = 0
    while at < len(item):
        kind, extended, sized = item[at] >> 3 & 15, item[at] & 4, item[at] & 2
        at += 2 if extended else 1
        length = len(item) - at
        if sized:
            length = 0
            for byte in range(8):
                part = item[at] if at < len(item) else 0
                length |= (part & 127) << 7 * byte
                at += 1
                if part < 128:
                    break
        yield kind, at, at + length
        at += length


class _Bits:
    """Reads unsigned numbers from the most significant bit on; zeros after the end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def read(self, bits: int) -> int:
        value = 0
        for at in range(self._at, self._at + bits):
            byte = self._content[at >> 3] if at >> 3 < len(self._content) else 0
            value = value << 1 | byte >> (7 - at % 8) & 1
        self._at += bits
        return value


def _size(bits: _Bits) -> tuple[int, int] | None:
    """Return (width, height) of a sequence header; None for timed ones, which no picture is."""
    bits.read(4)  # profile, still picture
    if bits.read(1):  # reduced header: one level
        bits.read(5)
    else:
        if bits.read(1):  # timing
            return None
        delayed = bits.read(1)
        for _ in range(bits.read(5) + 1):  # operating points
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if delayed and bits.read(1):
                bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1
