"""What the readers of the containers hand on, and how they refuse."""

from dataclasses import dataclass

from lumen_serving.errors import BadImage

MIB = 1 << 20
_UPRIGHT = 1


@dataclass(frozen=True, slots=True)
class Still:
    """One picture that is yet to be decoded.

    `px` are the pixels of the whole, `encoded` is what the decoder is given. `peak_bytes` is the
    most memory that decoding holds at a time, `work_px` the pixels that it goes through, counted
    again for each time.
    """

    px: int
    encoded: bytes
    peak_bytes: int
    work_px: int
    orientation: int = _UPRIGHT


def damaged() -> BadImage:
    """Return the refusal of bytes that make no picture."""
    return BadImage("The picture is damaged or incomplete. Check that all of its bytes were sent.")


def animated() -> BadImage:
    """Return the refusal of more than one picture."""
    return BadImage("The picture is animated. Send one still picture.")


def too_many_parts() -> BadImage:
    """Return the refusal of a file in more pieces than any picture needs."""
    return BadImage("The picture's file has too many parts. Save it again and send that.")
