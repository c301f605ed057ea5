"""What may be sent, and as what?"""

import base64
import io
import os
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image as PilImage

from lumen_client import ContentError, Image, Text
from lumen_client.content import Payload, read_payload


@pytest.fixture
def picture_file(tmp_path):
    path = tmp_path / "red boat"  # no suffix: nothing is decided by a suffix alone
    PilImage.new("RGB", (8, 6), (200, 10, 10)).save(path, "PNG")
    return path


def test_a_string_that_names_a_file_is_a_picture(picture_file):
    payload = read_payload(str(picture_file))

    assert not payload.is_text
    assert payload.data == picture_file.read_bytes()


def test_a_wrapped_text_stays_a_text_though_a_file_has_its_name(picture_file):
    assert read_payload(Text(str(picture_file))).is_text


@pytest.mark.parametrize("declared", ["image/png", "image/jpeg", "text/plain", ""])
def test_a_data_uri_of_a_picture_is_that_picture_whatever_it_declares(picture_file, declared):
    data = picture_file.read_bytes()
    coded = base64.encodebytes(data).decode()  # in lines

    for uri in (f"data:{declared};name=x;base64,{coded}", f"data:{declared},{quote(data)}"):
        payload = read_payload(uri)
        assert (payload.data, payload.mime) == (data, "image/png")


def test_a_data_uri_of_a_text_is_a_text():
    assert read_payload("data:text/plain;charset=utf-8,a%20cat") == Payload(b"a cat", "text/plain")


def test_an_array_and_a_pil_image_arrive_pixel_for_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    for content in (pixels, PilImage.fromarray(pixels)):
        sent = PilImage.open(io.BytesIO(read_payload(content).data))
        assert np.array_equal(np.asarray(sent), pixels)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (17, "neither a picture nor a text"),
        ("", "empty"),
        (b"", "empty"),
        ("data:image/png;base64,@@@", "base64 is broken"),
        ("data:image/png", "no comma"),
        ("https://example.com/cat.jpg", "Fetch the picture"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4), np.uint8), "uint8"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_what_would_do(content, says):
    with pytest.raises(ContentError, match=says):
        read_payload(content)


def test_a_missing_picture_is_named():
    with pytest.raises(ContentError, match="no-such-file"):
        read_payload(Image("no-such-file.png"))


def test_a_file_above_the_limit_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(51 * 1024 * 1024)

    with pytest.raises(ContentError, match="50 MiB"):
        read_payload(path)


def test_heic_without_its_reader_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    with pytest.raises(ContentError, match="pip install pillow-heif"):
        read_payload(b"\0\0\0\x18ftypheic" + b"\0" * 20)


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.png"
    holder = socket.socket(socket.AF_UNIX)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            holder.bind(str(path))
        case "folder":
            path.mkdir()
        case "device":
            path = Path("/dev/zero")

    with holder, pytest.raises(ContentError, match="cannot be read"):
        read_payload(path)


def test_a_path_with_a_zero_byte_is_refused():
    with pytest.raises(ContentError):
        read_payload(Path("a\0b"))


@pytest.mark.parametrize("text", ["caf\udce9", "data:,\udce9", "data:image/png;base64,é"])
def test_a_text_that_cannot_be_encoded_is_refused(text):
    with pytest.raises(ContentError):
        read_payload(text)
