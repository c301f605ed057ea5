"""One picture as a container's reader hands it on."""

from dataclasses import dataclass

_UPRIGHT = 1


@dataclass(frozen=True, slots=True)
class Still:
    """One picture that is yet to be decoded.

    `px` are the pixels of the whole, `encoded` is what the decoder is given. `peak_bytes` is the
    most memory that decoding holds at a time, `work_px` the pixels that it goes through, counted
    again for each time. `canvas` is (width, height, left, top) where `encoded` is only the part of
    a black whole that begins there.
    """

    px: int
    encoded: bytes
    peak_bytes: int
    work_px: int
    orientation: int = _UPRIGHT
    canvas: tuple[int, int, int, int] | None = None
