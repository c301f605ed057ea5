"""What callers hand in (texts, paths, bytes, pictures, arrays) as payloads with a mime.

A string is a picture if it is a data URI of one or a path that exists, and a text if nobody could
mean it as a path (`strings`); `Text` and `Image` say it explicitly.
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
from lumen_client.strings import is_data_uri, meant_path, shown
from lumen_pictures.kinds import served_mime
from lumen_wire.blank import is_blank

# No path is longer.
_MOST_PATH_BYTES = 4096


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


def _read_string(string: str) -> Payload:
    if is_data_uri(string):
        return _read_data_uri(string)
    path = meant_path(string)
    return _read_text(string) if path is None else _read_picture(path)


def _read_text(text: str) -> Payload:
    if not isinstance(text, str):
        raise ContentError(f"a text is a str, not {type(text).__name__}")
    if len(text) > pictures.MAX_PAYLOAD_BYTES:
        raise ContentError(f"{len(text):,} characters are more than the 50 MiB a server takes")
    if is_blank(text):
        raise ContentError(f"the text {shown(text)} is empty: nothing in it can be read")
    try:
        return Payload(text.encode(), "text/plain")
    except UnicodeEncodeError as error:
        raise ContentError(
            f"{shown(text)} is not Unicode text: character {error.start} stands for a byte that "
            "could not be decoded. Decode it by its own encoding"
        ) from error


def _read_data_uri(uri: str) -> Payload:
    """Take what its bytes are: what it says of them tells no more than a text from a picture."""
    mime, data = _data_uri(uri)
    if not mime.startswith("text/") or served_mime(data):
        return _read_picture(data)
    try:
        return _read_text(data.decode())
    except UnicodeDecodeError as error:
        raise ContentError("the data URI's text is not UTF-8. Encode it so") from error


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
        is_uri = is_data_uri(source)
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


def _of_bytes(data: bytes) -> bytes:
    """Return what to send of encoded bytes; a path or a text in bytes is told what it should be."""
    if 0 < len(data) <= _MOST_PATH_BYTES and not served_mime(data):
        text = os.fsdecode(data)
        if text.isprintable():
            raise ContentError(
                f"{shown(text)} in bytes is not a picture. Give a path or a text as str."
            )
    return pictures.of_bytes(data)


_READERS: tuple[tuple[type, Callable[[Any], Payload]], ...] = (
    (Text, lambda content: _read_text(content.text)),
    (Image, _read_image),
    (str, _read_string),
)
_PICTURES: tuple[tuple[type | tuple[type, ...], Callable[[Any], bytes]], ...] = (
    (os.PathLike, lambda path: pictures.of_path(Path(os.fsdecode(path)))),
    ((bytes, bytearray, memoryview), lambda data: _of_bytes(bytes(data))),
    (PilImage.Image, pictures.of_image),
    (np.ndarray, pictures.of_array),
)
