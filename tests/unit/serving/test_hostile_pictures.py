"""Pictures that would cost far more than they are worth are refused before they are decoded."""

import io
import struct
import tracemalloc
import warnings
import zlib

import hostile_pictures
import numpy as np
import pytest
import tiny_models
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lumen_pictures.containers import av1, avif
from lumen_resources.model.layouts import Preprocess
from lumen_serving.errors import BadImage
from lumen_serving.media import images


def a_preprocess(size=32) -> Preprocess:
    return Preprocess(size, "squash", "bicubic", tiny_models.MEAN, tiny_models.STD)


def reference(picture: Image.Image) -> np.ndarray:
    """open_clip's steps by Pillow alone, on the whole picture."""
    return np.asarray(tiny_models.square(picture, 32, "squash", Image.BICUBIC))


def test_photographs_of_phones_with_108_and_200_megapixels_are_taken():
    for width, height in ((12_000, 9_000), (16_320, 12_240)):
        payload = hostile_pictures.a_jpeg(width, height)

        work = images.look(payload, "image/jpeg", a_preprocess(224))

        assert work.make().shape == (224, 224, 3)
        # Charged for an eighth of each edge.
        assert work.peak_bytes < width * height // 4


def test_a_jpeg_of_cmyk_is_decoded_at_a_fraction_too():
    picture = tiny_models.a_picture(6, 640, 480).convert("CMYK")
    payload = tiny_models.encoded(picture, "JPEG", quality=95)

    work = images.look(payload, "", a_preprocess())

    wanted = reference(Image.open(io.BytesIO(payload)))
    assert tiny_models.levels_apart(work.make(), wanted).mean() < 1
    assert work.peak_bytes < 640 * 480 * 4


def test_a_jpeg_in_scans_is_charged_for_the_coefficients_of_its_whole_size():
    whole = images.look(hostile_pictures.a_jpeg(2000, 2000), "", a_preprocess())
    in_scans = images.look(
        hostile_pictures.a_jpeg(2000, 2000, progressive=True), "", a_preprocess()
    )

    # Two bytes each, less what the larger file of the other is charged.
    assert in_scans.peak_bytes - whole.peak_bytes > 2000 * 2000 * 1.9


A_JPEG = tiny_models.a_jpeg()


def behind_a_false_end() -> bytes:
    """Many scans behind a segment that looks like the end of the picture."""
    payload = hostile_pictures.a_jpeg_in_scans(64, 64, 200)
    at = payload.rindex(b"\xff\xda", 0, len(payload) // 4)
    return payload[:at] + b"\xff\xfe\0\6\xff\xd9\xff\xd9" + payload[at:]


def of_two_frames() -> bytes:
    at = A_JPEG.index(b"\xff\xc0")
    length = 2 + int.from_bytes(A_JPEG[at + 2 : at + 4], "big")
    return A_JPEG[:at] + A_JPEG[at : at + length] + A_JPEG[at:]


def a_small_canvas() -> bytes:
    """A WebP whose container says 64 x 64, and its bitstream 9000 x 9000."""
    inner = hostile_pictures.a_webp(9000, 9000)[12:]
    canvas = b"VP8X\x0a\0\0\0\0\0\0\0" + (63).to_bytes(3, "little") * 2
    return hostile_pictures.riff(canvas + inner)


def in_webp_chunks(count: int) -> bytes:
    chunks = hostile_pictures.a_webp(16, 16)[12:] + b"JUNK\0\0\0\0" * count
    return hostile_pictures.riff(chunks)


def in_png_chunks(kind: bytes, body: bytes) -> bytes:
    return hostile_pictures.a_png(40, 40, between=hostile_pictures.png_chunk(kind, body) * 3000)


def with_overlapping_exif() -> bytes:
    """An AVIF whose EXIF values overlap by the thousand."""
    exif = b"Exif\0\0" + hostile_pictures.an_exif_bomb(200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's, when it writes the file
        return tiny_models.encoded(tiny_models.a_picture(0), "AVIF", exif=exif)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (hostile_pictures.a_jpeg_in_scans(64, 64, 200), "scans"),
        (hostile_pictures.a_jpeg_in_scans(5000, 4000, 80), "scans"),
        (behind_a_false_end(), "scans"),
        *(
            (A_JPEG.replace(b"\xff\xc0", bytes([0xFF, marker]), 1), "baseline")
            for marker in (0xC3, 0xC9, 0xCA, 0xCB)
        ),
        (of_two_frames(), ""),
        (hostile_pictures.a_webp(8000, 8000), "next to nothing"),
        (hostile_pictures.a_png(12_000, 5000, 1, 0), "next to nothing"),
        (hostile_pictures.an_avif(4000, 3000), "next to nothing"),
        (a_small_canvas(), "megapixels"),
        (in_png_chunks(b"IDAT", b""), "too many parts"),
        (in_png_chunks(b"tEXt", b"a\0b"), "too many parts"),
        (A_JPEG[:2] + b"\xff\xfe\0\2" * 5000 + A_JPEG[2:], "too many parts"),
        (in_webp_chunks(2000), "too many parts"),
        (with_overlapping_exif(), "too many parts"),
    ],
)
def test_what_costs_more_than_it_can_be_worth_is_refused_undecoded(payload, words):
    with pytest.raises(BadImage) as caught:
        images.look(payload, "", a_preprocess())

    assert words in caught.value.message
    assert caught.value.message.endswith(".")


def test_scans_of_what_follows_the_picture_are_not_counted():
    ordinary = hostile_pictures.a_jpeg(64, 64, progressive=True)

    got = images.decode_rgb(ordinary + b"\xff\xda\0\2" * 5000, "", a_preprocess())

    assert got.shape == (32, 32, 3)


@pytest.mark.parametrize(
    "payload",
    [
        hostile_pictures.a_webp(2560, 1440),
        hostile_pictures.a_png(2560, 1440),
        hostile_pictures.a_png(2560, 1440, 1, 0),
        hostile_pictures.an_avif(1280, 720),
        hostile_pictures.a_png(4000, 3000, 8, 3),
        hostile_pictures.a_jpeg(4000, 3000, optimize=True),
    ],
)
def test_flat_pictures_as_large_as_a_screen_are_taken(payload):
    assert images.decode_rgb(payload, "", a_preprocess()).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "payload",
    [
        hostile_pictures.a_webp(7000, 7000, 40_000),
        hostile_pictures.an_avif_of_another_size((5000, 5000), (64, 64)) + bytes(10_000),
        hostile_pictures.a_jpeg(8000, 7900, progressive=True),
    ],
    ids=["WebP", "AVIF", "JPEG"],
)
def test_what_needs_more_memory_than_one_picture_may_take_is_refused_undecoded(payload):
    with pytest.raises(BadImage, match="MiB of memory"):
        images.look(payload, "", a_preprocess(), 96 << 20)


def test_an_avif_is_charged_for_every_frame_of_its_bitstream():
    once = avif.read(hostile_pictures.an_avif(64, 64))
    small = avif.read(hostile_pictures.an_avif_of_another_size((64, 64), (16, 16)))
    large = avif.read(hostile_pictures.an_avif_of_another_size((64, 64), (640, 640)))

    assert once.work_px == small.work_px == 64 * 64
    assert large.work_px == 640 * 640
    item = b"\x0a\x0a\x00\x00\x00\x04\x3c\xfe\xbf\xfa\x03\x08" + b"\x32\x02\x10\x00" * 9
    assert av1.read(item).frames == 9


def test_metadata_that_would_unpack_to_gigabytes_is_never_unpacked():
    profile = hostile_pictures.png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(8 << 20)))
    bomb = hostile_pictures.png_chunk(b"eXIf", hostile_pictures.an_exif_bomb())
    block = b"Exif\0\0" + hostile_pictures.an_exif_bomb(2500, 30_000)
    jpeg_payload = tiny_models.a_jpeg()
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block

    for payload in (
        hostile_pictures.a_png(40, 40, between=profile),
        hostile_pictures.a_png(40, 40, between=bomb),
        jpeg_payload[:2] + segment + jpeg_payload[2:],
    ):
        tracemalloc.start()
        got = images.decode_rgb(payload, "", a_preprocess())
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert got.shape == (32, 32, 3)
        assert peak_bytes < 8 << 20


@pytest.mark.parametrize("key", ["XML:com.adobe.xmp", "Raw profile type exif"])
def test_a_png_turned_by_xmp_or_by_imagemagicks_profile_is_made_upright(key):
    upright = tiny_models.a_picture(5, 70, 50)
    exif = Image.Exif()
    exif[0x0112] = 3
    texts = PngInfo()
    if key.startswith("XML"):
        texts.add_itxt(key, '<rdf:Description tiff:Orientation="3"/>')
    else:
        texts.add_text(key, f"\nexif\n{len(exif.tobytes())}\n{exif.tobytes().hex()}\n")
    stored = upright.transpose(Image.Transpose.ROTATE_180)

    got = images.decode_rgb(tiny_models.encoded(stored, "PNG", pnginfo=texts), "", a_preprocess())

    assert got.tobytes() == reference(upright).tobytes()


@pytest.mark.parametrize(("bits", "colour"), [(16, 0), (16, 2), (16, 4), (16, 6), (8, 2), (8, 6)])
def test_a_png_holds_no_more_memory_than_it_is_charged_for(bits, colour):
    work = images.look(hostile_pictures.a_png(1500, 1000, bits, colour), "", a_preprocess())

    tracemalloc.start()
    work.make()
    _, python_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Pillow's own pictures are not seen here: one of 2 or 4 bytes a pixel.
    assert python_bytes < work.peak_bytes
    assert work.peak_bytes >= 8 * 1500 * 1000
