"""Encoded pictures to the model's square of RGB bytes; runs in a decode thread.

A picture is input from anyone: its format, its size and what decoding it will cost are read from
its container and judged before a pixel is decoded, since nothing can end a decoder. Every error is
for the caller, says what to do, and names nothing of the inside.
"""

import io
import warnings
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

from lumen_pictures.containers import avif, exif, jpeg, png, webp
from lumen_pictures.containers.jpeg import Jpeg
from lumen_pictures.kinds import kind_of
from lumen_pictures.pixels import DECODE_ERRORS, rgb, turned
from lumen_pictures.refusals import MIB, PictureRefused, damaged
from lumen_pictures.still import Still
from lumen_resources.model.layouts import Preprocess
from lumen_serving.errors import BadImage
from lumen_serving.media.preprocess import Decoded, PreprocessWork, model_square

# The largest JPEG of a phone has 200 megapixels, and costs its fraction of them.
MAX_JPEG_PIXELS = 256_000_000
MAX_PIXELS = 64_000_000
MAX_PEAK_BYTES = 768 * MIB
# A flat drawing has up to 1,030 pixels a byte in PNG. A single colour has more in WebP and AVIF:
# such a picture may be as large as a screen, and no larger.
_MOST_PIXELS_PER_BYTE = 2000
_SCREEN_PIXELS = 10_000_000
# Registered on import: the first WebP would otherwise load every plugin that Pillow has.
PLUGINS = (AvifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/avif": "AVIF"}
_READERS = {"image/png": png.read, "image/webp": webp.read, "image/avif": avif.read}
_SYNONYMS = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_GENERIC = frozenset({"", "application/octet-stream", "binary/octet-stream", "image/*"})
_TURNED_SIDEWAYS = frozenset({5, 6, 7, 8})
# Decoded by libjpeg-turbo, copied to Pillow's 4 bytes a pixel, turned; CMYK needs one more.
_JPEG_BYTES_PER_PX = 12
_USUAL_SCANS = 16
# The file written anew, and what Pillow and a decoder keep of it.
_COPIES = 2
# Seconds on one core of 2024; a third more or less is as good, they only order the work.
_S_PER_JPEG_PX, _S_PER_SCANNED_PX, _S_PER_MADE_PX = 3e-9, 0.7e-9, 15e-9
_S_PER_STILL_PX, _S_PER_BYTE, _S_PER_AVIF_BYTE = 35e-9, 10e-9, 80e-9
# The second line of defence behind our own check of the container: Pillow's limit is
# process-wide, warns above it and raises above twice of it.
Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def decode_rgb(payload: bytes, mime: str, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return the picture as the model sees it: uint8 [S, S, 3], RGB, upright.

    Raises:
        BadImage: as of `look`, or damaged.

    """
    pixels: NDArray[np.uint8] = look(payload, mime, preprocess).make()
    return pixels


def look(
    payload: bytes, mime: str, preprocess: Preprocess, most_bytes: int = MAX_PEAK_BYTES
) -> PreprocessWork:
    """Return the work of decoding a picture to uint8 [S, S, 3], RGB, upright; decode nothing.

    Raises:
        BadImage: not a picture of an accepted format, too large, or damaged; it would
            hold more than `most_bytes` of memory. What it returns raises it for hidden damage.

    """
    content = _checked_mime(payload, mime)
    with _refusing_damage():
        if content == "image/jpeg":
            work = _jpeg_work(payload, preprocess)
        else:
            work = _still_work(_READERS[content](payload), content, len(payload), preprocess)
    if work.peak_bytes > most_bytes:
        raise BadImage(
            f"Decoding the picture would take {-(-work.peak_bytes // MIB)} MiB of memory and a "
            f"picture may take {most_bytes // MIB}. Send a smaller one, or a baseline JPEG."
        )
    return work


@contextmanager
def _refusing_damage() -> Iterator[None]:
    try:
        yield
    except PictureRefused as error:
        raise BadImage(error.message) from error
    except MemoryError as error:
        raise BadImage("The picture needs too much memory. Send a smaller one.") from error
    except DECODE_ERRORS as error:
        raise BadImage(damaged().message) from error


def _checked_mime(payload: bytes, mime: str) -> str:
    """Return what the bytes are, when they may be decoded and the caller says the same."""
    kind = kind_of(payload)
    if not kind.mime:
        raise BadImage(kind.refusal("The payload"))
    declared = mime.partition(";")[0].strip().lower()
    declared = _SYNONYMS.get(declared, declared)
    if declared not in _GENERIC and declared != kind.mime:
        shown = declared[:60].encode("ascii", "replace").decode()
        raise BadImage(
            f"The payload is declared as {shown} but its bytes are {kind.mime}. "
            f"Declare {kind.mime}, or leave the mime empty."
        )
    return kind.mime


def _check_pixels(pixels: int, most: int, payload_bytes: int) -> None:
    if pixels <= 0:
        raise BadImage("The picture has no pixels. Check that all of its bytes were sent.")
    if pixels > most:
        raise BadImage(
            f"The picture has more than {most // 1_000_000} megapixels. Send a smaller one."
        )
    if pixels > max(_SCREEN_PIXELS, _MOST_PIXELS_PER_BYTE * payload_bytes):
        raise BadImage(
            f"The picture claims {pixels / 1e6:.0f} megapixels in {payload_bytes:,} bytes, which "
            "is next to nothing to see. Send a smaller one."
        )


def _jpeg_work(payload: bytes, preprocess: Preprocess) -> PreprocessWork:
    """Scaled in the DCT by 1/8, 1/4 or 1/2 to at least twice the target, which costs 0.2 levels."""
    seen = jpeg.read(payload)
    _check_pixels(seen.width * seen.height, MAX_JPEG_PIXELS, len(payload))
    least_edge = min(seen.width, seen.height)
    fraction = next((f for f in (8, 4, 2) if least_edge >= 2 * f * preprocess.size), 1)
    made_px = -(-seen.width // fraction) * -(-seen.height // fraction)

    def make() -> NDArray[np.uint8]:
        with _refusing_damage():
            return _square(_decode_jpeg(payload, seen, fraction), preprocess)

    return PreprocessWork(
        make,
        peak_bytes=_JPEG_BYTES_PER_PX * made_px + seen.coefficient_bytes + len(payload),
        seconds=_S_PER_JPEG_PX * seen.width * seen.height
        + _S_PER_SCANNED_PX * seen.width * seen.height * seen.scans
        + _S_PER_MADE_PX * made_px
        + _S_PER_BYTE * len(payload),
    )


def _decode_jpeg(payload: bytes, seen: Jpeg, fraction: int) -> Decoded:
    """Decode by libjpeg-turbo, or by the more tolerant Pillow what that refuses."""
    # CMYK goes through Pillow: it knows Adobe's inverted inks. So does what has odd scans, which
    # libjpeg-turbo refuses after it has decoded them all.
    straight = len(seen.components) != 4 and seen.scans <= _USUAL_SCANS
    pixels = _turbo(payload, seen, fraction) if straight else None
    size = (seen.width, seen.height)
    if pixels is None:
        with _open(jpeg.without_metadata(payload), "image/jpeg") as picture:
            picture.draft("RGB", (seen.width // fraction, seen.height // fraction))
            return _upright_fraction(rgb(picture), size, fraction, seen.orientation)
    return _upright_fraction(Image.fromarray(pixels), size, fraction, seen.orientation)


def _turbo(payload: bytes, seen: Jpeg, fraction: int) -> NDArray[np.uint8] | None:
    """Return uint8 [H, W, 3] of the picture scaled by 1 / fraction, or None when refused."""
    width, height = (
        -(-edge // fraction) if fraction > 1 else 0 for edge in (seen.width, seen.height)
    )
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
    picture = turned(picture, orientation)
    left = picture.width - width if orientation in {2, 3, 6, 7} else 0.0
    top = picture.height - height if orientation in {3, 4, 7, 8} else 0.0
    return Decoded(picture, size, (left, top, left + width, top + height))


def _still_work(
    still: Still, content: str, payload_bytes: int, preprocess: Preprocess
) -> PreprocessWork:
    _check_pixels(still.px, MAX_PIXELS, payload_bytes)

    def make() -> NDArray[np.uint8]:
        with _refusing_damage():
            picture, orientation = _decode_still(still, content)
            return _square(Decoded.whole(turned(picture, orientation)), preprocess)

    return PreprocessWork(
        make,
        peak_bytes=still.peak_bytes + _COPIES * payload_bytes,
        seconds=_S_PER_STILL_PX * still.work_px
        + (_S_PER_AVIF_BYTE if content == "image/avif" else _S_PER_BYTE) * payload_bytes,
    )


def _decode_still(still: Still, content: str) -> tuple[Image.Image, int]:
    """Return the RGB picture of a PNG, WebP or AVIF, and its orientation."""
    with _open(still.encoded, content) as picture:
        if picture.width * picture.height > still.px:
            raise damaged()
        # AVIF turns by a property of its own, which Pillow writes into the EXIF block.
        orientation = still.orientation
        if content == "image/avif":
            orientation = exif.orientation(picture.info.get("exif", b""))
        return _in_whole(rgb(picture), still), orientation


def _in_whole(picture: Image.Image, still: Still) -> Image.Image:
    """Put an animation's first frame where it stands: what it leaves out is black."""
    if still.canvas is None:
        return picture
    width, height, left, top = still.canvas
    whole = Image.new("RGB", (width, height))
    whole.paste(picture, (left, top))
    return whole


def _open(payload: bytes, content: str) -> Image.Image:
    """Read the header alone."""
    return Image.open(io.BytesIO(payload), formats=[_FORMATS[content]])


def _square(decoded: Decoded, preprocess: Preprocess) -> NDArray[np.uint8]:
    return np.asarray(model_square(decoded, preprocess))
