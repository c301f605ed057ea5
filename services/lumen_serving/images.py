"""Encoded pictures to the model's square of RGB bytes; runs in a decode thread.

A picture is input from anyone: its format, its size and its frames are read from the header and
judged before a pixel is decoded. Every error is for the caller, says what to do, and names nothing
of the inside.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from lumen_resources.layouts import Preprocess
from lumen_serving.errors import BadImage
from lumen_serving.preprocess import Decoded, model_square

MAX_PIXELS = 64_000_000
ACCEPTED = "Send a JPEG, PNG, WebP or AVIF picture."
# Registered on import: the first WebP would otherwise load every plugin that Pillow has.
PLUGINS = (AvifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/avif": "AVIF"}
_SYNONYMS = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_GENERIC = frozenset({"", "application/octet-stream", "binary/octet-stream", "image/*"})
_ORIENTATION = 0x0112
_TURNED_SIDEWAYS = frozenset({5, 6, 7, 8})
# What Pillow and its plugins raise on hostile bytes; anything else is a defect of ours.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

# The second line of defence behind our own check of the header: Pillow's limit is process-wide,
# warns above it and raises above twice of it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def decode_rgb(payload: bytes, mime: str, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return the picture as the model sees it: uint8 [S, S, 3], RGB, upright.

    Raises:
        BadImage: not a picture of an accepted format, too large, animated, or damaged.

    """
    content = _checked_format(payload, mime)
    with _refusing_damage():
        jpeg = content == "image/jpeg"
        decoded = _decode_jpeg(payload, preprocess) if jpeg else _decode_still(payload, content)
        return np.asarray(model_square(decoded, preprocess))


def sniff_mime(payload: bytes) -> str | None:
    """Return the mime of an accepted container by its first bytes, or None."""
    if payload[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if payload[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return "image/webp"
    if payload[4:8] == b"ftyp" and payload[8:12] in {b"avif", b"avis"}:
        return "image/avif"
    return "image/avif" if _avif_compatible(payload) else None


def _avif_compatible(payload: bytes) -> bool:
    """Whether the brands after a `mif1` or other major brand include AVIF's."""
    if payload[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(payload[:4], "big"), 128)
    return any(payload[at : at + 4] == b"avif" for at in range(16, end, 4))


def _checked_format(payload: bytes, mime: str) -> str:
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


@contextmanager
def _refusing_damage() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise BadImage("The picture needs too much memory. Send a smaller one.") from error
    except _DECODE_ERRORS as error:
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            raise _too_large() from error
        raise BadImage(
            "The picture is damaged or incomplete. Check that all of its bytes were sent."
        ) from error


def _too_large() -> BadImage:
    return BadImage(
        f"The picture has more than {MAX_PIXELS // 1_000_000} megapixels. Send a smaller one."
    )


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise BadImage("The picture has no pixels. Check that all of its bytes were sent.")
    if width * height > MAX_PIXELS:
        raise _too_large()


def _open(payload: bytes, content: str) -> Image.Image:
    """Read the header alone."""
    return Image.open(io.BytesIO(payload), formats=[_FORMATS[content]])


def _decode_jpeg(payload: bytes, preprocess: Preprocess) -> Decoded:
    """Decode by libjpeg-turbo, or by the more tolerant Pillow what that refuses.

    Scaled in the DCT by 1/8, 1/4 or 1/2 to at least twice the target, which costs 0.2 levels.
    """
    with _open(payload, "image/jpeg") as header:
        _check_size(*header.size)
        orientation = _orientation(header)
        least_edge = min(header.size)
        fraction = next((f for f in (8, 4, 2) if least_edge >= 2 * f * preprocess.size), 1)
        # CMYK goes through Pillow: it knows Adobe's inverted inks.
        pixels = _turbo(payload, header.size, fraction) if header.mode != "CMYK" else None
        if pixels is None:
            return Decoded.whole(_upright(header.convert("RGB"), orientation))
        return _upright_fraction(Image.fromarray(pixels), header.size, fraction, orientation)


def _turbo(payload: bytes, size: tuple[int, int], fraction: int) -> NDArray[np.uint8] | None:
    """Return uint8 [H, W, 3] of the picture scaled by 1 / fraction, or None when refused."""
    width, height = (-(-edge // fraction) if fraction > 1 else 0 for edge in size)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            payload, "RGB", min_width=width, min_height=height
        )
    except ValueError:
        return None
    return pixels


def _upright_fraction(
    picture: Image.Image, size: tuple[int, int], fraction: int, orientation: int
) -> Decoded:
    """Turn the picture, and find where its whole lies: the rest pixel turns with it."""
    width, height = size[0] / fraction, size[1] / fraction
    if orientation in _TURNED_SIDEWAYS:
        size, width, height = size[::-1], height, width
    picture = _upright(picture, orientation)
    left = picture.width - width if orientation in {2, 3, 6, 7} else 0.0
    top = picture.height - height if orientation in {3, 4, 7, 8} else 0.0
    return Decoded(picture, size, (left, top, left + width, top + height))


def _orientation(picture: Image.Image) -> int:
    """Return EXIF's orientation; what cannot be read is upright, the pixels may still be good."""
    try:
        noted = picture.getexif().get(_ORIENTATION, 1)
    except _DECODE_ERRORS:
        return 1
    return noted if isinstance(noted, int) else 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Turn and mirror as the camera noted it."""
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return picture if method is None else picture.transpose(method)


def _decode_still(payload: bytes, content: str) -> Decoded:
    """Return an upright RGB picture from a PNG, WebP or AVIF with one frame."""
    if content == "image/webp":
        # Before Pillow: its decoder reserves the canvas when it opens the file.
        _check_size(*_webp_size(payload))
    with _open(payload, content) as picture:
        _check_size(*picture.size)
        if getattr(picture, "n_frames", 1) > 1:
            raise BadImage("The picture is animated. Send one still picture.")
        return Decoded.whole(_upright(_rgb(picture), _orientation(picture)))


def _rgb(picture: Image.Image) -> Image.Image:
    """As open_clip's `convert("RGB")`, which drops alpha; 16-bit grey is scaled, not clipped."""
    if picture.mode.startswith("I"):
        levels = np.asarray(picture).astype(np.int64) >> 8
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _webp_size(payload: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas from the first chunk; (0, 0) when it is cut off."""
    kind, body = payload[12:16], payload[20:30]
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0
