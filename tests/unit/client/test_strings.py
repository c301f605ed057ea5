"""Is a string a text, a path, or a mistake?"""

import os
from pathlib import Path

import pytest
from PIL import Image as PilImage

from lumen_client import ContentError, Text
from lumen_client.content import read_payload
from lumen_process.printable import printable


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory and the home folder: a picture, a folder, a link to nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    PilImage.new("RGB", (8, 6), (200, 10, 10)).save("hund.jpg")
    PilImage.new("RGB", (8, 6), (200, 10, 10)).save("a red boat.png")
    Path("empty").mkdir()
    Path("broken.jpg").symlink_to("nowhere.jpg")
    return tmp_path


TEXTS = [
    "cat",
    "a photo of a cat",
    "a photo of a cat.",
    "is this a cat?",
    "Hund, Katze; Maus: drei Tiere!",
    "5 * 3 = 15",
    "cat / dog",
    "3.50 euros",
    "costs 3.50",
    "e.g. a cat, etc.",
    "[CLS] a cat [SEP]",
    "写真 🦋",
    "~30 birds",
    "first line\nsecond/line.jpg",
    "data: what we know of cats",
    "x" * 300 + "/" + "y",
    "words and/or more " * 400,
    "what? a cat",
    "a cat...",
]


@pytest.mark.parametrize("string", TEXTS)
def test_what_nobody_means_as_a_path_is_a_text(folder, string):
    payload = read_payload(string)

    assert payload.is_text
    assert payload.data == string.encode()


MISTAKES = [
    "empty/*.jpg",
    "*.jpg",
    "photos*",
    "IMG_[0-9]",
    "IMG_?1",
    "hund.jpgg",
    "hund.jepg",
    "hund.JPG2",
    "kein hund.pgn",
    "missing.tiff",
    "missing.jpg ",
    "'missing.jpg'",
    "missing.mp4",
    "~/x.jpg",
    "~nobody/x.jpg",
    "C:\\x.jpg",
    "C:/x",
    "..\\x",
    "./cat",
    "pictures/cat",
    "my pictures/cat 1",
    "/cat",
    "cat/",
    "file:///nowhere.jpg",
    "file://elsewhere/x.jpg",
    "s3://bucket/x.jpg",
    "HTTPS://example.com/cat",
    " https://example.com/cat",
    "ftp://example.com/cat.jpg",
    "data:image/png",
    "data:image/png;base64,@@@",
    "DATA:image/png;base64,@@@",
    "hund.jpg/inside",
    "broken.jpg",
    "caf\udce9.jpg",
]


@pytest.mark.parametrize("string", MISTAKES)
def test_what_looks_like_a_path_and_leads_nowhere_is_named(folder, string):
    with pytest.raises(ContentError) as refused:
        read_payload(string)

    told = str(refused.value)
    assert "data URI" in told or printable(string) in told
    assert told.isprintable()


@pytest.mark.parametrize("string", [each for each in MISTAKES if "\udce9" not in each])
def test_any_of_them_is_a_text_when_said_so(folder, string):
    assert read_payload(Text(string)).data == string.encode()


@pytest.mark.parametrize(
    "said",
    [
        *("hund.jpg", "./hund.jpg", "~/hund.jpg", "a red boat.png", Path("hund.jpg")),
        *("file://{}/hund.jpg", "file://localhost{}/hund.jpg", "file://{}/a%20red%20boat.png"),
    ],
)
def test_a_path_that_leads_to_a_picture_is_one(folder, said):
    said = said.format(folder) if isinstance(said, str) else said

    payload = read_payload(said)

    assert not payload.is_text
    assert payload.data[:2] in {b"\xff\xd8", b"\x89P"}


class SomePath(os.PathLike):
    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return self._path


@pytest.mark.parametrize("path", [SomePath("hund.jpg"), SomePath(b"hund.jpg")])
def test_whatever_is_a_path_to_python_is_one(folder, path):
    assert read_payload(path).data == Path("hund.jpg").read_bytes()


@pytest.mark.parametrize("path", [SomePath("kein.hund"), Path("kein hund"), Path("empty")])
def test_a_path_is_never_a_text(folder, path):
    with pytest.raises(ContentError, match="cannot be read"):
        read_payload(path)


@pytest.mark.parametrize("data", [b"hund.jpg", b"missing.jpg", b"a cat", bytearray(b"./x")])
def test_a_path_or_a_text_in_bytes_is_told_what_it_should_be(folder, data):
    with pytest.raises(ContentError, match=r"Give a path or a text as str"):
        read_payload(data)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_path_that_may_not_be_looked_at_is_named(folder):
    Path("empty").chmod(0)

    with pytest.raises(ContentError, match=r"empty/x.*Permission denied"):
        read_payload("empty/x")


def test_a_ring_of_links_is_named(folder):
    Path("a").symlink_to("b")
    Path("b").symlink_to("a")

    with pytest.raises(ContentError, match=r"'a' cannot be read"):
        read_payload("a")


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\x00\x07", "\u200b\u200d", "\ufeff", "\ufe0f"])
@pytest.mark.parametrize("said", [str, Text])
def test_a_text_in_which_nothing_can_be_read_is_refused(folder, said, blank):
    with pytest.raises(ContentError, match="empty"):
        read_payload(said(blank))


def test_a_text_above_the_bound_is_refused_before_it_is_copied():
    with pytest.raises(ContentError, match="50 MiB"):
        read_payload(Text("a" * (50 * 1024 * 1024 + 1)))
    with pytest.raises(ContentError, match="50 MiB"):
        read_payload(Text("ä" * (26 * 1024 * 1024)))


@pytest.mark.parametrize("text", [None, 5, b"cat", ["cat"]])
def test_a_text_is_a_str(text):
    with pytest.raises(ContentError, match="a text is a str"):
        read_payload(Text(text))
