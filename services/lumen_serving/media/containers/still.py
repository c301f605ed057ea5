"""What a payload is by its first bytes, what its reader hands on, and how it is refused."""

from dataclasses import dataclass

from lumen_serving.errors import BadImage

MIB = 1 << 20
ACCEPTED = "Send a JPEG, PNG, WebP or AVIF picture."
_SYNONYMS = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_GENERIC = frozenset({"", "application/octet-stream", "binary/octet-stream", "image/*"})
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


def sniff_mime(payload: bytes) -> str | None:
    """Return the mime of an accepted container by its first bytes, or None."""
    if payload[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if payload[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return "image/webp"
    if payload[4:8] == b"ftyp":
        # The major brand, or one of the brands after a `mif1` or other major one.
        brands_end = min(int.from_bytes(payload[:4], "big"), 128)
        brands = (payload[at : at + 4] for at in range(16, brands_end, 4))
        return "image/avif" if payload[8:12] in {b"avif", b"avis"} or b"avif" in brands else None
    return None


def checked_format(payload: bytes, mime: str) -> str:
    """Return what the bytes are, when they may be decoded and the caller says the same."""
    if not payload:
        raise BadImage(f"The payload is empty. {ACCEPTED}")
    content = sniff_mime(payload)
    if content is None:
        found = _other_content(payload)
        raise BadImage(f"The payload is {found}. {ACCEPTED}")
    declared = mime.partition(";")[0].strip().lower()
    declared = _SYNONYMS.get(declared, declared)
    if declared not in _GENERIC and declared != content:
        shown = declared[:60].encode("ascii", "replace").decode()
        raise BadImage(
            f"The payload is declared as {shown} but its bytes are {content}. "
            f"Declare {content}, or leave the mime empty."
        )
    return content


def _other_content(payload: bytes) -> str:
    """Name formats that people do send."""
    if payload[:4] == b"GIF8":
        return "a GIF"
    if payload[:2] == b"BM":
        return "a BMP"
    if payload[:4] in {b"II*\0", b"MM\0*"}:
        return "a TIFF or a raw photo"
    if payload[4:8] == b"ftyp" and payload[8:12] in {b"heic", b"heix", b"mif1", b"hevc"}:
        return "a HEIC picture"
    return "no picture of a known format"
