"""JPEG: the frame, its scans and the orientation, by the markers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lumen_pictures.containers import exif
from lumen_pictures.refusals import PictureRefused, damaged, too_many_parts

_SOI = b"\xff\xd8"
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_ADOBE, _JFIF = 0xEE, 0xE0
_PROGRESSIVE = 0xC2
_USUAL_FRAMES = frozenset({0xC0, 0xC1, _PROGRESSIVE})
_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_ARITHMETIC_FRAMES = frozenset({0xC9, 0xCA})
# With the lossless, hierarchical and arithmetic kinds; C4, C8 and CC are not frames.
_FRAMES = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
# Depth maps and colour profiles come in pieces of 64 KiB: 256 MiB of them.
_MOST_SEGMENTS = 4096
# Encoders write about ten, the longest scripts of jpegtran some dozens.
_MOST_SCANS = 100
# Each scan goes over every block of the whole picture, whatever fraction is asked for: 0.6 ns.
_MOST_SCANNED_PX = 1_300_000_000
_STEP = 1 << 18
_ENDS_SCAN = np.ones(256, bool)
_ENDS_SCAN[[0x00, 0xFF, *range(0xD0, 0xD8)]] = False


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What the markers say; `coefficient_bytes` is what libjpeg holds of a picture in scans.

    `components` are the (horizontal, vertical) sampling factors; `scans` is 1 for a picture that
    libjpeg decodes row by row.
    """

    width: int
    height: int
    components: tuple[tuple[int, int], ...]
    coefficient_bytes: int
    scans: int
    orientation: int


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    components: tuple[tuple[int, int], ...]
    progressive: bool

    @property
    def coefficient_bytes(self) -> int:
        """Two bytes for each coefficient of each block of 8 x 8, rounded up to whole units."""
        widest = max(across for across, _ in self.components)
        tallest = max(down for _, down in self.components)
        across = -(-self.width // (8 * widest))
        down = -(-self.height // (8 * tallest))
        return 128 * across * down * sum(h * v for h, v in self.components)


def read(payload: bytes) -> Jpeg:
    """Return what the markers say.

    Raises:
        PictureRefused: no JPEG that can be decoded, or one in more scans or segments than
            pictures have.

    """
    frame: _Frame | None = None
    notes: dict[bytes, bytes] = {}
    scans = 0
    for marker, start, end in _segments(payload):
        if marker == _SOS:
            scans += 1
            if _is_last_scan(frame, scans, payload[start]):
                break
        elif marker in _FRAMES:
            frame = _frame(payload[start:end], marker, frame)
        elif marker == _APP1 and not scans:
            for kind in (_EXIF, _XMP):
                if payload.startswith(kind, start):
                    notes.setdefault(kind, payload[start:end])
    if frame is None or not scans:
        raise damaged()
    return Jpeg(
        frame.width,
        frame.height,
        frame.components,
        frame.coefficient_bytes if frame.progressive or scans > 1 else 0,
        scans,
        exif.orientation(notes.get(_EXIF, b""), notes.get(_XMP, b"")),
    )


def without_metadata(payload: bytes) -> bytes:
    """Return the same picture with nothing that Pillow would unpack when it opens it."""
    kept, scan = [_SOI], len(payload)
    for marker, start, end in _segments(payload):
        if marker == _SOS:
            scan = start - 4
            break
        if marker in {_ADOBE, _JFIF} or not (marker >= _JFIF or marker in _BARE_MARKERS):
            kept.append(payload[start - 4 : end])
    return b"".join((*kept, payload[scan:]))


def _is_last_scan(frame: _Frame | None, scans: int, components: int) -> bool:
    """Whether libjpeg looks no further: a picture in one scan is decoded row by row."""
    if frame is None:
        raise damaged()
    if scans > _MOST_SCANS or scans * frame.width * frame.height > _MOST_SCANNED_PX:
        raise PictureRefused(
            f"The JPEG has {scans} scans or more, which is too many for its size. "
            "Save it as a baseline JPEG."
        )
    return scans == 1 and not frame.progressive and components >= len(frame.components)


def _frame(body: bytes, marker: int, before: _Frame | None) -> _Frame:
    if before is not None or len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise damaged()
    oddity = _oddity(marker, body[0], body[5])
    if oddity:
        raise PictureRefused(f"The JPEG {oddity}. Save it as a baseline JPEG with 8 bits.")
    factors = [body[at] for at in range(7, 6 + 3 * body[5], 3)]
    components = tuple((factor >> 4, factor & 15) for factor in factors)
    if not all(1 <= edge <= 4 for both in components for edge in both):
        raise damaged()
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if width and not height:
        raise PictureRefused(
            "The JPEG says only behind its pixels how high it is. Save it as a baseline JPEG."
        )
    return _Frame(width, height, components, marker == _PROGRESSIVE)


def _oddity(marker: int, bits: int, components: int) -> str:
    """Return what no decoder here takes, to follow "The JPEG"; empty for the usual kinds."""
    if marker in _LOSSLESS_FRAMES:
        return "is of the lossless kind"
    if marker in _ARITHMETIC_FRAMES:
        return "is of the arithmetic-coded kind"
    if marker not in _USUAL_FRAMES:
        return "is of the hierarchical kind"
    if bits != 8:
        return f"has {bits} bits a sample"
    return "" if components in {1, 3, 4} else f"has {components} colour channels"


def _segments(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each body up to the end of the picture or of the bytes."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        at = payload.find(b"\xff", at)
        if at < 0 or at + 4 > len(payload):
            return
        marker = payload[at + 1]
        if marker == _EOI:
            return
        if marker in {0x00, 0xFF} or marker in _BARE_MARKERS:
            at += 1 if marker == 0xFF else 2
            continue
        start = at + 4
        end = at + 2 + int.from_bytes(payload[at + 2 : start], "big")
        if end < start or end > len(payload):
            raise damaged()
        yield marker, start, end
        at = _scan_end(payload, end) if marker == _SOS else end
    raise too_many_parts()


def _scan_end(payload: bytes, at: int) -> int:
    """Return where the next marker after a scan's data stands, or the end of the bytes."""
    data = np.frombuffer(payload, np.uint8)
    last = len(payload) - 1
    while at < last:
        stop = min(at + _STEP, last)
        marks = at + np.flatnonzero(data[at:stop] == 0xFF)
        ends = marks[_ENDS_SCAN[data[marks + 1]]]
        if ends.size:
            return int(ends[0])
        at = stop
    return len(payload)
