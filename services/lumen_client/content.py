"""What callers hand in (texts, paths, bytes, pictures, arrays) as payloads with a mime.

A string is a picture if it is a data URI of one or a path that exists; otherwise it is a text.
Nothing is decided by a suffix alone; `Text` and `Image` say it explicitly.
"""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image as PilImage

from lumen_client import pictures
from lumen_client.errors import ContentError
from lumen_pictures.kinds import served_mime

# The longest file name that any common system takes; a longer string is a text for certain.
_MAX_PATH_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Text:
    """A text, whatever it looks like."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: a path, a data URI, its encoded bytes, an open file, Pillow's or an array."""

    source: Any


@dataclass(frozen=True, slots=True)
class Payload:
    """What goes over the wire; the mime is what the bytes are, whatever was said of them."""

    data: bytes
    mime: str

    @property
    def is_text(self) -> bool:
        """Whether this is a text."""
        return self.mime == "text/plain"


def read_payload(content: Any) -> Payload:
    """Return what to send for one item.

    Takes str, paths, bytes, open binary files, Text, Image, PIL images, and uint8 arrays
    [H, W, 3] in RGB.

    Raises:
        ContentError: it is none of these, is empty, unreadable, or above 50 MiB.

    """
    for kind, read in _READERS:
        if isinstance(content, kind):
            payload = read(content)
            break
    else:
        payload = _read_picture(content)
    if not payload.data:
        raise ContentError("an empty item cannot be sent")
    if len(payload.data) > pictures.MAX_PAYLOAD_BYTES:
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
                return _read_picture(path)
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
    """Take what its bytes are: what it says of them tells no more than a text from a picture."""
    mime, data = _data_uri(uri)
    if mime.startswith("text/") and not served_mime(data):
        return Payload(data, "text/plain")
    return _read_picture(data)


def _data_uri(uri: str) -> tuple[str, bytes]:
    """Return the declared mime and the bytes."""
    head, comma, body = uri.partition(",")
    if not comma:
        raise ContentError("the data URI has no comma before its data")
    mime, *parameters = head.removeprefix("data:").lower().split(";")
    try:
        data = unquote_to_bytes(body)
        if "base64" in parameters:
            data = base64.b64decode(data.translate(None, b" \t\r\n"), validate=True)
    except UnicodeEncodeError as error:
        raise ContentError("the data URI is not Unicode text") from error
    except ValueError as error:
        raise ContentError(f"the data URI's base64 is broken: {error}") from error
    return mime or "text/plain", data


def _read_image(image: Image) -> Payload:
    source = image.source
    if isinstance(source, str):
        is_uri = source.startswith("data:")
        return _read_picture(_data_uri(source)[1] if is_uri else Path(source))
    return _read_picture(source)


def _read_picture(source: Any) -> Payload:
    for kind, read in _PICTURES:
        if isinstance(source, kind):
            data = read(source)
            return Payload(data, served_mime(data))
    if hasattr(source, "read"):
        data = pictures.of_file(source)
        return Payload(data, served_mime(data))
    raise ContentError(
        f"{type(source).__name__} is neither a picture nor a text. Give a str, a path, bytes, "
        "an open binary file, a PIL image or a uint8 array [H, W, 3]."
    )


_READERS: tuple[tuple[type, Callable[[Any], Payload]], ...] = (
    (Text, lambda content: _read_text(content.text)),
    (Image, _read_image),
    (str, _read_string),
)
_PICTURES: tuple[tuple[type | tuple[type, ...], Callable[[Any], bytes]], ...] = (
    (os.PathLike, lambda path: pictures.of_path(Path(os.fsdecode(path)))),
    ((bytes, bytearray, memoryview), lambda data: pictures.of_bytes(bytes(data))),
    (PilImage.Image, pictures.of_image),
    (np.ndarray, pictures.of_array),
)
