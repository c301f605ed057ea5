"""What the client turns into another picture is judged by its head, before a pixel is decoded."""

import io
import struct
import tracemalloc
import zlib

import hostile_pictures
import pytest
import tiny_models
from PIL import Image as PilImage
from tiny_models import encoded

from lumen_client import ContentError, pictures
from lumen_client.content import read_payload

PICTURE = tiny_models.a_picture(0)


def a_gif(width: int, height: int, before: bytes = b"", count: int = 1) -> bytes:
    """A GIF of a claimed size whose one picture is small; `before` stands in front of it."""
    file = encoded(PICTURE.convert("P"), "GIF")
    table = 13 + (3 << (file[10] & 7) + 1)
    head = file[:6] + struct.pack("<HH", width, height) + file[10:table]
    return head + before * count + file[table:]


def a_tiff(tags: dict[int, int], body: bytes = b"") -> bytes:
    usual = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: 64, 279: len(body)}
    entries = sorted((usual | tags).items())
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(entries))
    return (
        data + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    )


def an_overlapping_tiff() -> bytes:
    """A directory of values that all lie at the same place."""
    tags = range(40_000, 50_000)
    entries = b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(60_000)


def a_bmp(width: int, height: int, packed: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, packed, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + head + bytes(1024)


def comment(blocks: int) -> bytes:
    return b"\x21\xfe" + (b"\xff" + bytes(255)) * blocks + b"\0"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (a_gif(65_535, 65_535), "megapixels"),
        (a_gif(64, 64, b"\x21\xfe" + b"\1a" * 300_000 + b"\0"), "too many parts"),
        (a_gif(64, 64, b"\x21\xfe\0", 300_000), "too many parts"),
        (a_gif(64, 64)[:40], "damaged or incomplete"),
        (a_tiff({256: 60_000, 257: 60_000}), "megapixels"),
        (a_tiff({322: 1 << 20, 323: 1 << 20, 324: 8, 325: 9}), "far larger than its picture"),
        (an_overlapping_tiff(), "too many parts"),
        (a_tiff({}, b"\0"), "damaged or incomplete"),
        (a_bmp(100_000, 100_000), "megapixels"),
        (a_bmp(64, 64), "damaged or incomplete"),
        (a_bmp(64, 64, packed=9), "damaged or incomplete"),
        (encoded(PICTURE, "TIFF")[:-9], "damaged or incomplete"),
    ],
)
def test_what_would_cost_more_than_it_can_be_worth_is_refused_in_one_sentence(file, says):
    tracemalloc.start()
    with pytest.raises(ContentError, match=says) as caught:
        read_payload(file)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "\n" not in str(caught.value)
    assert peak_bytes < 64 << 20


def test_a_long_comment_of_a_gif_costs_nothing():
    file = a_gif(64, 64, comment(4000))

    assert read_payload(file).data == read_payload(a_gif(64, 64)).data


def test_a_tiff_gives_no_more_pixels_than_it_claims():
    bomb = a_tiff({}, zlib.compress(bytes(300 << 20), 9))

    tracemalloc.start()
    sent = PilImage.open(io.BytesIO(read_payload(bomb).data))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent.size == (64, 64)
    assert peak_bytes < 8 << 20


def test_metadata_of_a_picture_in_memory_are_read_up_to_a_bound():
    picture = PICTURE.copy()
    picture.info["exif"] = b"Exif\0\0" + hostile_pictures.an_exif_bomb()
    picture.info["xmp"] = b"tiff:Orientation" * (1 << 18)

    tracemalloc.start()
    sent = read_payload(picture).data
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent == read_payload(PICTURE).data
    assert peak_bytes < 8 << 20


@pytest.mark.parametrize(
    "info", [{"exif": 7}, {"exif": "text"}, {"xmp": None}, {"Raw profile type exif": b"x"}]
)
def test_strange_notes_of_a_picture_in_memory_leave_it_upright(info):
    picture = PICTURE.copy()
    picture.info.update(info)

    assert read_payload(picture).data == read_payload(PICTURE).data


def test_a_jpeg_above_the_limit_is_sent_smaller(tmp_path):
    path = tmp_path / "large.jpg"
    tail = bytes(pictures.MAX_PAYLOAD_BYTES)
    exif = PilImage.Exif()
    exif[0x0112] = 6
    path.write_bytes(encoded(PICTURE.resize((6000, 3200)), "JPEG", exif=exif.tobytes()) + tail)

    sent = PilImage.open(io.BytesIO(read_payload(path).data))

    assert (sent.format, sent.size) == ("PNG", (1600, 3000))


def test_a_png_above_the_limit_is_sent_without_its_metadata(tmp_path):
    path = tmp_path / "large.png"
    file = encoded(PICTURE, "PNG")
    junk = hostile_pictures.png_chunk(b"junk", bytes(pictures.MAX_PAYLOAD_BYTES))
    path.write_bytes(file[:33] + junk + file[33:])

    assert read_payload(path).data == read_payload(PICTURE).data


def test_a_webp_above_the_limit_says_so(tmp_path):
    path = tmp_path / "large.webp"
    path.write_bytes(encoded(PICTURE, "WEBP") + bytes(pictures.MAX_PAYLOAD_BYTES))

    with pytest.raises(ContentError, match="larger than the 50 MiB"):
        read_payload(path)
