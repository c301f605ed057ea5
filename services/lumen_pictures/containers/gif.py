"""GIF: written anew with its first picture alone; comments and the other frames are left out."""

from lumen_pictures.refusals import damaged, too_many_parts

_HEADER_BYTES = 13
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, b";"
_GRAPHIC_CONTROL = 0xF9
_DESCRIPTOR_BYTES = 10
_FIRST_BLOCKS = 10_000
# Writers fill their blocks to 255 bytes.
_LEAST_BLOCK_BYTES = 64


def first(payload: bytes) -> bytes:
    """Return a file of the first picture.

    Raises:
        PictureRefused: it has none, or lies in more blocks than pictures do.

    """
    start = _HEADER_BYTES + _table_bytes(payload[10:11])
    kept = [payload[:start]]
    at, left = start, _FIRST_BLOCKS + len(payload) // _LEAST_BLOCK_BYTES
    while payload[at : at + 1] == bytes([_EXTENSION]):
        end, left = _blocks_end(payload, at + 2, left)
        if payload[at + 1 : at + 2] == bytes([_GRAPHIC_CONTROL]):
            kept[1:] = [payload[at:end]]
        at = end
    if payload[at : at + 1] != bytes([_IMAGE]):
        raise damaged()
    # The descriptor, its own colours, and the byte that says how the pixels are packed.
    pixels = at + _DESCRIPTOR_BYTES + _table_bytes(payload[at + 9 : at + 10]) + 1
    end, _ = _blocks_end(payload, pixels, left)
    return b"".join((*kept, payload[at:end], _END))


def _table_bytes(flags: bytes) -> int:
    """Return the size of a colour table by the byte that says whether there is one."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _blocks_end(payload: bytes, at: int, left: int) -> tuple[int, int]:
    """Return where a run of blocks ends, at the latest with the bytes, and how many may follow."""
    while at < len(payload):
        left -= 1
        if left < 0:
            raise too_many_parts()
        length = payload[at]
        at += 1 + length
        if not length:
            break
    return at, left
