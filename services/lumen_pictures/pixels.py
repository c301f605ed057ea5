"""From Pillow's picture of any mode to upright RGB: the one rule, by whichever door it came.

It is open_clip's `convert("RGB")`, where that keeps what there is to see; where it would cut
levels off, they are scaled instead.
"""

import struct
import zlib

import numpy as np
from PIL import Image

from lumen_pictures.containers import exif

# What Pillow and its plugins raise on hostile bytes; anything else is a defect of ours.
DECODE_ERRORS = (
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
    SystemError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow has no way from these to RGB but by others.
_ON_THE_WAY = {"La": "LA", "RGBa": "RGBA"}


def rgb(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB of 8 bits; alpha is dropped, as open_clip drops it.

    Grey of 16 bits or more keeps its high byte; grey in floats is taken as fractions where none
    is above 1, else as levels up to 255. Raises ValueError for what cannot be made RGB.
    """
    if picture.mode.startswith("I"):
        return _high_bytes(picture).convert("RGB")
    if picture.mode == "F":
        return _levels(picture).convert("RGB")
    if picture.mode != "RGB":
        step = _ON_THE_WAY.get(picture.mode)
        if picture.mode == "P" and isinstance(picture.info.get("transparency"), bytes):
            step = "RGBA"  # the same colours, without Pillow's warning that there are alphas
        return (picture.convert(step) if step else picture).convert("RGB")
    picture.load()
    return picture


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """Turn and mirror as the camera noted it: 1 to 8, as in EXIF."""
    method = _TRANSPOSES.get(orientation)
    return picture if method is None else picture.transpose(method)


def upright_rgb(picture: Image.Image, orientation: int | None = None) -> Image.Image:
    """Return an opened picture as `rgb`, turned by `orientation` or else as its metadata say.

    Raises one of DECODE_ERRORS on a file that is damaged.
    """
    picture.load()  # some formats are turned by Pillow itself, which then says so in `info`
    noted = _noted_orientation(picture) if orientation is None else orientation
    return turned(rgb(picture), noted)


def _noted_orientation(picture: Image.Image) -> int:
    """Read what a server would read of the same file."""
    info = picture.info
    block = info.get("exif") or exif.raw_profile(str(info.get("Raw profile type exif", "")))
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp", b"")
    return exif.orientation(
        block if isinstance(block, bytes) else b"",
        xmp if isinstance(xmp, bytes) else str(xmp).encode(errors="replace"),
    )


def _high_bytes(picture: Image.Image) -> Image.Image:
    levels = np.asarray(picture) >> 8
    return Image.fromarray(np.clip(levels, 0, 255, out=levels).astype(np.uint8))


def _levels(picture: Image.Image) -> Image.Image:
    levels = np.nan_to_num(np.asarray(picture), nan=0.0, posinf=255.0, neginf=0.0)
    scale = 255.0 if levels.size and 0 < levels.max() <= 1 else 1.0
    return Image.fromarray(np.rint(levels * scale).clip(0, 255).astype(np.uint8))
