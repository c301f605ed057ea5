"""Where an image file says it ends: what tells a whole request from the first of its parts.

Looks at headers and tails only; whether the picture can be decoded is the server's question.
"""

from enum import Enum, auto

_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_RIFF = b"RIFF"
_FTYP = b"ftyp"

_START_OF_SCAN = 0xDA
# Markers without a length: TEM, RST0..7, SOI.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_MOST_SEGMENTS = 4096


class Ending(Enum):
    """What a container says about the end of the bytes at hand."""

    PROPER = auto()  # the file ends exactly here
    MISSING = auto()  # a known container, and the end is not among these bytes
    UNKNOWN = auto()  # no container that we know, or bytes follow its end


def ending(payload: bytes) -> Ending:
    """Return whether an image file ends with `payload`."""
    if payload.startswith(_JPEG):
        return _jpeg_ending(payload)
    if payload.startswith(_PNG):
        return Ending.PROPER if payload.endswith(_PNG_END) else _unless(_PNG_END in payload)
    if payload.startswith(_RIFF) and len(payload) >= 8:
        size = 8 + int.from_bytes(payload[4:8], "little")
        # An odd size is followed by one byte of padding, which some writers leave out.
        return _against(len(payload), size, size + (size & 1))
    if payload[4:8] == _FTYP:
        return _bmff_ending(payload)
    return Ending.UNKNOWN


def _unless(end_seen: bool) -> Ending:
    return Ending.UNKNOWN if end_seen else Ending.MISSING


def _against(have: int, *sizes: int) -> Ending:
    if have in sizes:
        return Ending.PROPER
    return Ending.MISSING if have < min(sizes) else Ending.UNKNOWN


def _jpeg_ending(payload: bytes) -> Ending:
    """Walk the segments up to the picture's own data: a thumbnail before it has an end, too."""
    scan = _jpeg_scan(payload)
    if scan is None:
        return Ending.MISSING
    if payload.endswith(_JPEG_END) and len(payload) >= scan + 2:
        return Ending.PROPER
    return _unless(payload.rfind(_JPEG_END, scan) >= 0)


def _jpeg_scan(payload: bytes) -> int | None:
    """Return where the first scan begins, or None when it is not among these bytes."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(payload) or payload[at] != 0xFF:
            return None
        marker = payload[at + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            at += 1
        elif marker == _START_OF_SCAN:
            return at
        elif marker in _BARE_MARKERS:
            at += 2
        else:
            at += 2 + int.from_bytes(payload[at + 2 : at + 4], "big")
    return None


def _bmff_ending(payload: bytes) -> Ending:
    """Walk the top-level boxes of an ISO base media file (AVIF): each begins with its size."""
    at, boxes = 0, 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(payload[at + 8 : at + 16], "big")
        # Size 0 means "to the end of the file": such a file never says where that is.
        if size < 8 or boxes == _MOST_SEGMENTS:
            return Ending.UNKNOWN if at else Ending.MISSING
        at += size
        boxes += 1
    # `ftyp` alone is not a picture: its end is only where the first part may have been cut.
    return Ending.PROPER if at == len(payload) and boxes > 1 else Ending.MISSING


def may_end(head: bytes, tail: bytes, length: int) -> bool:
    """Say cheaply whether a file of `length` bytes may end here; `ending` then decides.

    `head` and `tail` are its first and last bytes, 12 or more where it has them.
    """
    if head.startswith(_JPEG):
        return tail.endswith(_JPEG_END)
    if head.startswith(_PNG):
        return tail.endswith(_PNG_END)
    if head.startswith(_RIFF) and len(head) >= 8:
        return length >= 8 + int.from_bytes(head[4:8], "little")
    return False
