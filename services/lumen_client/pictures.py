"""Pictures in whatever shape a caller has them, as the bytes that a server decodes.

What a server decodes itself goes as it is: no byte of a file is changed. What only Pillow reads
(GIF, BMP, TIFF, and HEIC by its plugin), pictures in memory and files above the limit go as PNG,
upright, and by the very rule that the server has for files, so that a picture has one vector by
whichever door it comes.
"""

import importlib
import io
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)
from PIL import Image as PilImage

from lumen_client.errors import ContentError
from lumen_manifest.reading.regular_files import read_named
from lumen_pictures import kinds
from lumen_pictures.containers import gif, jpeg, png, tiff
from lumen_pictures.kinds import FileKind, kind_of
from lumen_pictures.pixels import DECODE_ERRORS, upright_rgb
from lumen_pictures.refusals import PictureRefused

MAX_PAYLOAD_BYTES = 50 * 1024 * 1024
# What is turned into another picture here may be longer: an uncompressed one of a good camera.
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_PIXELS = 256_000_000
# Twice the side of any square that a model takes, and half as much again: published ones go to
# 512. A picture too large for a PNG is reduced by a whole number to no less. At 224 and at 512
# pixels that moves 0.02 to 0.5 of 255 levels on average, as does decoding a JPEG at a fraction.
LEAST_EDGE = 1536
# Whatever its pixels, a PNG of so many is within the limit.
_MOST_PNG_PIXELS = MAX_PAYLOAD_BYTES // 3 - 400_000
_MOST_SAID = 200
_BLOCK_BYTES = 1 << 20
_one_at_a_time = threading.Lock()

# A picture of which the header was read, and which way up it is; None if that is in its metadata.
Opened = tuple[PilImage.Image, int | None]


class Readable(Protocol):
    """An open binary file, or what reads as one."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


def of_path(path: Path) -> bytes:
    """Return what to send of a file.

    Raises:
        ContentError: it cannot be read, or as of `of_bytes`; names the path.

    """
    try:
        data = read_named(path, MAX_PAYLOAD_BYTES)
        if len(data) > MAX_PAYLOAD_BYTES and kind_of(data) in _OPENERS:
            data = read_named(path, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ContentError(f"{path} cannot be read: {said}") from error
    return of_bytes(data, str(path))


def of_bytes(data: bytes, subject: str = "The item") -> bytes:
    """Return what to send of an encoded picture; `subject` begins the sentence that refuses it.

    Raises:
        ContentError: no picture that can be sent, damaged, or too large.

    """
    kind = kind_of(data)
    if kind.mime and len(data) <= MAX_PAYLOAD_BYTES:
        return data
    if kind not in _OPENERS:
        if len(data) > MAX_PAYLOAD_BYTES:
            raise ContentError(f"{subject} is larger than the 50 MiB that a server takes")
        raise ContentError(kind.refusal(subject))
    if len(data) > MAX_FILE_BYTES:
        raise ContentError(f"{subject} is larger than 512 MiB. Scale it down and send that.")
    with _told_of(subject):
        return _encoded(*_OPENERS[kind](data), subject)


def is_readable_kind(kind: FileKind) -> bool:
    """Whether a file of the kind is sent as it is, or turned into what can be sent."""
    return bool(kind.mime) or kind in _OPENERS


def of_file(file: Readable) -> bytes:
    """Return what to send of an open binary file, from its beginning where it has one.

    Raises:
        ContentError: it gives no bytes, or as of `of_bytes`.

    """
    try:
        if getattr(file, "seekable", lambda: False)():
            file.seek(0)  # type: ignore[attr-defined]
        content = bytearray()
        # What is not buffered may give less than it was asked for.
        while len(content) <= MAX_FILE_BYTES and (block := file.read(_BLOCK_BYTES)):
            content += block
    except TypeError as error:
        raise ContentError(
            "the open file gives text. Open it in binary mode: open(path, 'rb')."
        ) from error
    except (OSError, ValueError) as error:
        raise ContentError(f"the open file cannot be read: {error}") from error
    return of_bytes(bytes(content))


def of_image(image: PilImage.Image) -> bytes:
    """Return what to send of Pillow's picture; of one that was opened and not used, its file.

    Raises:
        ContentError: its file is damaged, or it has no pixels or too many.

    """
    with _told_of("The item"):
        with _one_at_a_time:  # the same picture may be several items, each read by a thread
            untouched = _file_of(image)
            if untouched is not None and kind_of(untouched).mime:
                return untouched
            image.load()
        return _encoded(image, None, "The item")


def of_array(array: np.ndarray[Any, Any]) -> bytes:
    """Return what to send of uint8 [H, W, 3] in RGB.

    Raises:
        ContentError: it is none.

    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ContentError(
            f"an array must be uint8 [H, W, 3] in RGB, this one is {array.dtype} {array.shape}"
        )
    if not array.size:
        raise ContentError(f"the array has no pixels: {array.shape}")
    with _told_of("The item"):
        return _encoded(PilImage.fromarray(np.ascontiguousarray(array)), 1, "The item")


@contextmanager
def _told_of(subject: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one sentence about `subject`."""
    try:
        yield
    except ContentError:
        raise
    except PictureRefused as error:
        raise ContentError(f"{subject} cannot be sent. {error.message}") from error
    except MemoryError as error:
        raise ContentError(f"{subject} needs too much memory. Scale it down.") from error
    except DECODE_ERRORS as error:
        said = " ".join(str(error).split())[:_MOST_SAID] or type(error).__name__
        raise ContentError(
            f"{subject} is damaged or incomplete ({said}). Check that all of its bytes are there."
        ) from error


def _file_of(image: PilImage.Image) -> bytes | None:
    """Return the bytes that a picture was opened from, while none of its pixels were looked at."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None:
        return None
    if image.tell() or image.decoderconfig:
        return None  # another frame, or drafted
    try:
        at = image.fp.tell()
        image.fp.seek(0)
        data = image.fp.read(MAX_PAYLOAD_BYTES + 1)
        image.fp.seek(at)
    except (OSError, ValueError):
        return None
    return data if len(data) <= MAX_PAYLOAD_BYTES else None


def _encoded(picture: PilImage.Image, orientation: int | None, subject: str) -> bytes:
    """Return the picture as a PNG within the limit, or as a JPEG where no PNG would be.

    `orientation` is None where the picture's own metadata say it.
    """
    pixels = picture.width * picture.height
    if not pixels:
        raise ContentError(f"{subject} has no pixels")
    if pixels > MAX_PIXELS:
        raise ContentError(
            f"{subject} has more than {MAX_PIXELS // 1_000_000} megapixels. Scale it down."
        )
    if pixels <= _MOST_PNG_PIXELS:
        return _saved(upright_rgb(picture, orientation), "PNG", compress_level=1)
    with _one_at_a_time:  # a hundred items may be in flight, and each takes a gigabyte at the worst
        rgb = upright_rgb(picture, orientation)
        factor = math.ceil(math.sqrt(pixels / _MOST_PNG_PIXELS))
        if min(rgb.size) >= factor * LEAST_EDGE:
            rgb = rgb.reduce(factor)
        if rgb.width * rgb.height <= _MOST_PNG_PIXELS:
            return _saved(rgb, "PNG", compress_level=1)
        # Reduced, its short side would be too short. Every pixel keeps a colour of its own.
        encoded = _saved(rgb, "JPEG", quality=95, subsampling=0)
    if len(encoded) > MAX_PAYLOAD_BYTES:
        raise ContentError(f"{subject} is larger than the 50 MiB that a server takes")
    return encoded


def _saved(rgb: PilImage.Image, container: str, **options: Any) -> bytes:
    """Return the pixels alone: a picture hands on a profile that it was opened with."""
    buffer = io.BytesIO()
    rgb.save(buffer, container, icc_profile=None, transparency=None, comment=b"", **options)
    return buffer.getvalue()


def _opened_jpeg(data: bytes) -> Opened:
    seen = jpeg.read(data)
    picture = JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg.without_metadata(data)))
    factor = min(picture.size) // LEAST_EDGE
    if factor > 1:
        picture.draft("RGB", (picture.width // factor, picture.height // factor))
    return picture, seen.orientation


def _opened_png(data: bytes) -> Opened:
    still = png.read(data)
    return PngImagePlugin.PngImageFile(io.BytesIO(still.encoded)), still.orientation


def _opened_tiff(data: bytes) -> Opened:
    tiff.check(data)
    return TiffImagePlugin.TiffImageFile(io.BytesIO(data)), None


def _opened_heic(data: bytes) -> Opened:
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ModuleNotFoundError as error:
        raise ContentError(
            "HEIC is not readable here. Install it with: pip install pillow-heif   "
            "(JPEG, PNG, WebP and AVIF work as they are)"
        ) from error
    return pillow_heif.HeifImageFile(io.BytesIO(data)), None


# Each reads the header alone, and by its own class: `Image.open` would ask every plugin there is,
# and judge the size by a setting of the whole process. JPEG and PNG are for what is too long to be
# sent as it is.
_OPENERS: dict[FileKind, Callable[[bytes], Opened]] = {
    kinds.GIF: lambda data: (GifImagePlugin.GifImageFile(io.BytesIO(gif.first(data))), 1),
    kinds.BMP: lambda data: (BmpImagePlugin.BmpImageFile(io.BytesIO(data)), 1),
    kinds.TIFF: _opened_tiff,
    kinds.HEIC: _opened_heic,
    kinds.JPEG: _opened_jpeg,
    kinds.PNG: _opened_png,
}
