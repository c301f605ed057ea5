"""What callers hand in (texts, paths, bytes, pictures, arrays) as payloads with a mime.

A string is a picture if it is a data URI of one or a path that exists; otherwise it is a text.
Nothing is decided by a suffix alone; `Text` and `Image` say it explicitly.
"""

import base64
import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from lumen_client.errors import ContentError
from lumen_manifest.reading.regular_files import read_named

MAX_PAYLOAD_BYTES = 50 * 1024 * 1024
# The longest file name that any common system takes; a longer string is a text for certain.
_MAX_PATH_CHARACTERS = 4096
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1")


@dataclass(frozen=True, slots=True)
class Text:
    """A text, whatever it looks like."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: a path, a data URI, or its encoded bytes."""

    source: str | Path | bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """What goes over the wire; an empty mime means that the server looks for itself."""

    data: bytes
    mime: str

    @property
    def is_text(self) -> bool:
        """Whether this is a text."""
        return self.mime == "text/plain"


def read_payload(content: Any) -> Payload:
    """Return what to send for one item.

    Takes str, Path, bytes, Text, Image, PIL images, and uint8 arrays [H, W, 3] in RGB.

    Raises:
        ContentError: it is none of these, is empty, unreadable, or above 50 MiB.

    """
    for kind, read in _READERS:
        if isinstance(content, kind):
            payload = read(content)
            break
    else:
        raise ContentError(
            f"{type(content).__name__} is neither a picture nor a text. "
            "Give a str, a path, bytes, a PIL image or a uint8 array [H, W, 3]."
        )
    if not payload.data:
        raise ContentError("an empty item cannot be sent")
    if len(payload.data) > MAX_PAYLOAD_BYTES:
        raise ContentError(f"{len(payload.data):,} bytes are more than the 50 MiB a server takes")
    return payload


def _read_string(text: str) -> Payload:
    if text.startswith("data:"):
        return _read_data_uri(text)
    if text.startswith(("http://", "https://")):
        raise ContentError(
            f"{text[:80]} is an address; fetch the picture and give its bytes, "
            "or wrap it as Text(...) to embed the address itself"
        )
    if text and len(text) <= _MAX_PATH_CHARACTERS and "\0" not in text:
        path = Path(text)
        try:
            if path.is_file():
                return _read_path(path)
        except OSError:
            pass  # too long a name for this system: a text
    return _read_text(text)


def _read_text(text: str) -> Payload:
    try:
        return Payload(text.encode(), "text/plain")
    except UnicodeEncodeError as error:
        raise ContentError(
            f"{text[:80]!r} is not Unicode text, and no file has its name"
        ) from error


def _read_data_uri(uri: str) -> Payload:
    head, comma, body = uri.partition(",")
    if not comma:
        raise ContentError("the data URI has no comma before its data")
    mime = head.removeprefix("data:").split(";")[0] or "text/plain"
    try:
        if not head.endswith(";base64"):
            return Payload(unquote_to_bytes(body), mime)
        return Payload(base64.b64decode(body, validate=True), mime)
    except UnicodeEncodeError as error:
        raise ContentError("the data URI is not Unicode text") from error
    except ValueError as error:
        raise ContentError(f"the data URI's base64 is broken: {error}") from error


def _read_path(path: Path) -> Payload:
    try:
        data = read_named(path, MAX_PAYLOAD_BYTES)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ContentError(f"{path} cannot be read: {said}") from error
    if len(data) > MAX_PAYLOAD_BYTES:
        raise ContentError(f"{path} is larger than the 50 MiB that a server takes")
    return _read_bytes(data)


def _read_bytes(data: bytes) -> Payload:
    is_heic = data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS
    return _from_heic(data) if is_heic else Payload(data, "")


def _from_heic(data: bytes) -> Payload:
    """Return the picture as PNG: servers read no HEIC."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ModuleNotFoundError as error:
        raise ContentError(
            "HEIC is not readable here. Install it with: pip install pillow-heif   "
            "(JPEG, PNG, WebP and AVIF work as they are)"
        ) from error
    pillow_heif.register_heif_opener()
    try:
        return _read_pil(ImageOps.exif_transpose(PilImage.open(io.BytesIO(data))))
    except (OSError, ValueError, PilImage.DecompressionBombError) as error:
        raise ContentError(f"the HEIC picture cannot be read: {error}") from error


def _read_image(image: Image) -> Payload:
    source = image.source
    if isinstance(source, bytes):
        return _read_bytes(source)
    if isinstance(source, str) and source.startswith("data:"):
        return _read_data_uri(source)
    return _read_path(Path(source))


def _read_pil(image: PilImage.Image) -> Payload:
    buffer = io.BytesIO()
    # PNG keeps every pixel; level 1 costs a third of the default's time.
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return Payload(buffer.getvalue(), "image/png")


def _read_array(array: np.ndarray[Any, Any]) -> Payload:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ContentError(
            f"an array must be uint8 [H, W, 3] in RGB, this one is {array.dtype} {array.shape}"
        )
    return _read_pil(PilImage.fromarray(array))


_READERS: tuple[tuple[type, Callable[[Any], Payload]], ...] = (
    (Text, lambda content: _read_text(content.text)),
    (Image, _read_image),
    (str, _read_string),
    (Path, _read_path),
    (bytes, _read_bytes),
    (PilImage.Image, _read_pil),
    (np.ndarray, _read_array),
)
