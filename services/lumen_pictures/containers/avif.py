"""AVIF: the sizes that its items declare and the ones that their bitstreams have.

A tiny item may hold a bitstream of the largest size there is, or many frames; a grid may have
thousands of cells. All of them count.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from lumen_pictures.containers import av1, exif
from lumen_pictures.refusals import MIB, PictureRefused, damaged, too_many_parts
from lumen_pictures.still import Still

Span = tuple[int, int]

_MOST_PARTS = 5000
# Pillow copies every value of the EXIF block's first directory when it opens the file.
_MOST_EXIF_VALUE_BYTES = 4 * MIB
# Of the whole: the bytes that Pillow is handed, its picture, and that made RGB or turned.
_CANVAS_BYTES_PER_PX = 12
# Of each frame: three planes of up to 16 bits, and what the decoder keeps beside them.
_FRAME_BYTES_PER_PX = 8


@dataclass(slots=True)
class _Meta:
    """The items of a `meta` box: their types, their bytes, and the sizes that are theirs.

    `extents` are (start, end) in the file; `sizes` has one entry for each property, None for those
    that are none, and `owned` the places of an item's properties in it, counted from 1.
    """

    types: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[Span]] = field(default_factory=dict)
    sizes: list[int | None] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)

    @property
    def canvas_px(self) -> int:
        """The largest size of all."""
        return max((size or 0 for size in self.sizes), default=0)

    def of_type(self, kind: bytes) -> list[int]:
        """Return the items of a type."""
        return [item for item, found in self.types.items() if found == kind]

    def declared_px(self, item: int) -> int:
        """Return the largest size that is associated with the item."""
        places = [at for at in self.owned.get(item, ()) if 0 < at <= len(self.sizes)]
        return max((self.sizes[at - 1] or 0 for at in places), default=0)

    def content(self, item: int, payload: bytes) -> bytes:
        """Return the item's bytes."""
        return b"".join(payload[start:end] for start, end in self.extents.get(item, ()))


def read(payload: bytes) -> Still:
    """Return the still picture, charged for all that libavif may decode of it.

    Of an animation it is the one that its file shows where nothing moves.

    Raises:
        PictureRefused: no AVIF, only an animation, or one whose sizes cannot be told before it
            is decoded.

    """
    boxes: dict[bytes, Span] = {}
    for kind, start, end in _boxes(payload, 0, len(payload)):
        boxes.setdefault(kind, (start, end))
    if b"meta" not in boxes and b"moov" in boxes:
        raise PictureRefused(
            "The AVIF is animated and holds no still picture. Save one of its frames."
        )
    if b"meta" not in boxes or b"ftyp" not in boxes:
        raise damaged()
    try:
        meta = _meta(payload, *boxes[b"meta"])
    except (struct.error, IndexError) as error:
        raise damaged() from error
    return _charged(_without_tracks(payload, boxes), meta)


def _without_tracks(payload: bytes, boxes: dict[bytes, Span]) -> bytes:
    """Return the file with its tracks hidden: libavif then opens the still picture alone."""
    if b"moov" not in boxes:
        return payload
    still = bytearray(payload)
    still[boxes[b"moov"][0] - 4 : boxes[b"moov"][0]] = b"free"
    start, end = boxes[b"ftyp"]
    for at in (start, *range(start + 8, end - 3, 4)):
        if still[at : at + 4] == b"avis":
            still[at : at + 4] = b"avif"
    return bytes(still)


def _charged(payload: bytes, meta: _Meta) -> Still:
    spans = [span for extents in meta.extents.values() for span in extents]
    if sum(end - start for start, end in spans) > 2 * len(payload):
        raise too_many_parts()
    for item in meta.of_type(b"Exif"):
        # Four bytes say where the block begins.
        if exif.value_bytes(meta.content(item, payload)[4:]) > _MOST_EXIF_VALUE_BYTES:
            raise too_many_parts()
    work_px = sum(_work_px(payload, meta, item) for item in meta.of_type(b"av01"))
    canvas_px = meta.canvas_px
    return Still(
        canvas_px,
        payload,
        peak_bytes=_CANVAS_BYTES_PER_PX * canvas_px + _FRAME_BYTES_PER_PX * work_px,
        work_px=work_px,
    )


def _work_px(payload: bytes, meta: _Meta, item: int) -> int:
    """Return the pixels of an item's frames: as coded, or as libavif scales them to be."""
    coded = av1.read(meta.content(item, payload))
    if coded is None:
        raise damaged()
    return coded.frames * max(coded.width * coded.height, meta.declared_px(item))


def _meta(payload: bytes, start: int, end: int) -> _Meta:
    meta = _Meta()
    boxes = {kind: (at, stop) for kind, at, stop in _boxes(payload, start + 4, end)}
    if b"iinf" in boxes:
        meta.types = _types(payload, *boxes[b"iinf"])
    if b"iloc" in boxes:
        meta.extents = _extents(payload, boxes[b"iloc"][0], boxes.get(b"idat", (0, 0)))
    if b"iprp" in boxes:
        for kind, at, stop in _boxes(payload, *boxes[b"iprp"]):
            if kind == b"ipco":
                meta.sizes = [_size(payload, *box) for box in _boxes(payload, at, stop)]
            elif kind == b"ipma":
                _associate(payload, at, meta.owned)
    return meta


def _boxes(payload: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of each body, from `at` to `stop`."""
    for _ in range(_MOST_PARTS):
        if at + 8 > stop:
            return
        length, kind = struct.unpack_from(">I4s", payload, at)
        start = at + 8
        if length == 1 and at + 16 <= stop:
            (length,) = struct.unpack_from(">Q", payload, start)
            start += 8
        end = stop if length == 0 else at + length
        if end < start or end > stop:
            raise damaged()
        yield kind, start, end
        at = end
    raise too_many_parts()


def _types(payload: bytes, start: int, end: int) -> dict[int, bytes]:
    count_bytes = 4 if payload[start] else 2
    types: dict[int, bytes] = {}
    for kind, at, _ in _boxes(payload, start + 4 + count_bytes, end):
        if kind == b"infe":
            layout = ">IH4s" if payload[at] == 3 else ">HH4s"
            item, _, name = struct.unpack_from(layout, payload, at + 4)
            types[item] = name
    return types


def _size(payload: bytes, kind: bytes, start: int, end: int) -> int | None:
    if kind != b"ispe" or end - start < 12:
        return None
    width, height = struct.unpack_from(">II", payload, start + 4)
    return int(width * height)


def _associate(payload: bytes, at: int, owned: dict[int, list[int]]) -> None:
    read = _Numbers(payload, at)
    version, flags = read.next(1), read.next(3)
    for _ in range(_bounded(read.next(4))):
        item = read.next(4 if version else 2)
        wide = flags & 1
        # The highest bit says that the property is essential.
        places = [read.next(2 if wide else 1) for _ in range(read.next(1))]
        owned.setdefault(item, []).extend(at & (0x7FFF if wide else 0x7F) for at in places)


def _extents(payload: bytes, start: int, idat: Span) -> dict[int, list[Span]]:
    read = _Numbers(payload, start)
    version = read.next(1)
    read.next(3)
    offset_bytes, length_bytes = divmod(read.next(1), 16)
    base_bytes, index_bytes = divmod(read.next(1), 16)
    extents: dict[int, list[Span]] = {}
    parts = 0
    for _ in range(_bounded(read.next(4 if version == 2 else 2))):
        item = read.next(4 if version == 2 else 2)
        method = read.next(2) & 15 if version else 0
        read.next(2)
        base = read.next(base_bytes)
        # Offsets are from the file's start, or from that of `idat`; other items are never needed.
        low, high = ((0, len(payload)), idat, (0, 0))[min(method, 2)]
        spans = extents.setdefault(item, [])
        count = read.next(2)
        parts = _bounded(parts + count)
        for _ in range(count):
            read.next(index_bytes if version else 0)
            at = min(low + base + read.next(offset_bytes), high)
            length = read.next(length_bytes)
            spans.append((at, min(at + length, high) if length else high))
    return extents


def _bounded(count: int) -> int:
    if count > _MOST_PARTS:
        raise too_many_parts()
    return count


class _Numbers:
    """Reads unsigned numbers of some bytes each; struct.error after the end."""

    def __init__(self, payload: bytes, at: int) -> None:
        self._payload = payload
        self._at = at

    def next(self, size: int) -> int:
        part = self._payload[self._at : self._at + size]
        if len(part) < size:
            raise struct.error
        self._at += size
        return int.from_bytes(part, "big")
