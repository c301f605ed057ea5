"""Pictures that would cost far more than they are worth are refused before they are decoded."""

import io
import struct
import tracemalloc
import zlib

import hostile_pictures
import numpy as np
import pytest
import tiny_models
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lumen_resources.model.layouts import Preprocess
from lumen_serving.errors import BadImage
from lumen_serving.media import images
from lumen_serving.media.containers import av1, avif


def a_preprocess(size=32) -> Preprocess:
    return Preprocess(size, "squash", "bicubic", tiny_models.MEAN, tiny_models.STD)


def reference(picture: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """open_clip's steps by Pillow alone, on the whole picture."""
    side = preprocess.size
    return np.asarray(picture.convert("RGB").resize((side, side), Image.BICUBIC))


def levels_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int))


def refused_at_sight(payload: bytes) -> str:
    """The sentence of a picture that is refused before any work is done."""
    with pytest.raises(BadImage) as caught:
        images.look(payload, "", a_preprocess())
    assert caught.value.message.endswith(".")
    return caught.value.message


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

    wanted = reference(Image.open(io.BytesIO(payload)), a_preprocess())
    assert levels_apart(work.make(), wanted).mean() < 1
    assert work.peak_bytes < 640 * 480 * 4


def test_a_jpeg_in_scans_is_charged_for_the_coefficients_of_its_whole_size():
    whole = images.look(hostile_pictures.a_jpeg(2000, 2000), "", a_preprocess())
    in_scans = images.look(
        hostile_pictures.a_jpeg(2000, 2000, progressive=True), "", a_preprocess()
    )

    # Two bytes each, less what the larger file of the other is charged.
    assert in_scans.peak_bytes - whole.peak_bytes > 2000 * 2000 * 1.9


@pytest.mark.parametrize(
    "payload",
    [
        hostile_pictures.a_jpeg_in_scans(64, 64, 200),
        hostile_pictures.a_jpeg_in_scans(5000, 4000, 80),
    ],
    ids=["many scans", "many scans for its size"],
)
def test_a_jpeg_of_more_scans_than_photographs_have_is_refused_undecoded(payload):
    assert "scans" in refused_at_sight(payload)


def test_scans_are_counted_behind_a_segment_that_looks_like_the_end():
    payload = hostile_pictures.a_jpeg_in_scans(64, 64, 200)
    at = payload.rindex(b"\xff\xda", 0, len(payload) // 4)
    hidden = payload[:at] + b"\xff\xfe\0\6\xff\xd9\xff\xd9" + payload[at:]

    assert "scans" in refused_at_sight(hidden)


def test_scans_of_what_follows_the_picture_are_not_counted():
    ordinary = hostile_pictures.a_jpeg(64, 64, progressive=True)

    got = images.decode_rgb(ordinary + b"\xff\xda\0\2" * 5000, "", a_preprocess())

    assert got.shape == (32, 32, 3)


@pytest.mark.parametrize("marker", [0xC3, 0xC9, 0xCA, 0xCB])
def test_a_jpeg_of_a_rare_kind_is_refused_with_what_to_do(marker):
    payload = tiny_models.a_jpeg().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)

    assert "baseline" in refused_at_sight(payload)


def test_two_frames_in_one_jpeg_are_refused():
    payload = tiny_models.a_jpeg()
    at = payload.index(b"\xff\xc0")
    length = 2 + int.from_bytes(payload[at + 2 : at + 4], "big")

    assert refused_at_sight(payload[:at] + payload[at : at + length] + payload[at:])


@pytest.mark.parametrize(
    "payload",
    [
        hostile_pictures.a_webp(8000, 8000),
        hostile_pictures.a_png(12_000, 5000, 1, 0),
        hostile_pictures.an_avif(4000, 3000),
    ],
    ids=["WebP", "PNG", "AVIF"],
)
def test_many_pixels_in_next_to_no_bytes_are_refused_undecoded(payload):
    assert "next to nothing" in refused_at_sight(payload)


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


def test_a_webp_is_as_large_as_its_bitstream_whatever_its_container_says():
    inner = hostile_pictures.a_webp(9000, 9000)[12:]
    canvas = b"VP8X\x0a\0\0\0\0\0\0\0" + (63).to_bytes(3, "little") * 2

    assert "megapixels" in refused_at_sight(hostile_pictures.riff(canvas + inner))


def test_an_avif_is_charged_for_every_frame_of_its_bitstream():
    once = avif.read(hostile_pictures.an_avif(64, 64))
    small = avif.read(hostile_pictures.an_avif_of_another_size((64, 64), (16, 16)))
    large = avif.read(hostile_pictures.an_avif_of_another_size((64, 64), (640, 640)))

    assert once.work_px == small.work_px == 64 * 64
    assert large.work_px == 640 * 640
    item = b"\x0a\x0a\x00\x00\x00\x04\x3c\xfe\xbf\xfa\x03\x08" + b"\x32\x02\x10\x00" * 9
    assert av1.read(item).frames == 9


@pytest.mark.parametrize(
    "between",
    [
        hostile_pictures.png_chunk(b"IDAT", b"") * 3000,
        hostile_pictures.png_chunk(b"tEXt", b"a\0b") * 3000,
    ],
    ids=["empty data", "texts"],
)
def test_a_png_of_thousands_of_chunks_is_refused_undecoded(between):
    assert "too many parts" in refused_at_sight(hostile_pictures.a_png(40, 40, between=between))


def test_a_jpeg_or_webp_of_thousands_of_parts_is_refused_undecoded():
    jpeg_payload = tiny_models.a_jpeg()
    comments = jpeg_payload[:2] + b"\xff\xfe\0\2" * 5000 + jpeg_payload[2:]
    chunks = hostile_pictures.a_webp(16, 16)[12:] + b"JUNK\0\0\0\0" * 2000

    assert "too many parts" in refused_at_sight(comments)
    assert "too many parts" in refused_at_sight(hostile_pictures.riff(chunks))


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


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, when it writes the file
def test_an_avif_whose_exif_values_overlap_by_the_thousand_is_refused_undecoded():
    exif = b"Exif\0\0" + hostile_pictures.an_exif_bomb(200)
    payload = tiny_models.encoded(tiny_models.a_picture(0), "AVIF", exif=exif)

    assert "too many parts" in refused_at_sight(payload)


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

    assert got.tobytes() == reference(upright, a_preprocess()).tobytes()


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
