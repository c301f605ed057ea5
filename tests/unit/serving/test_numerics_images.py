"""Pictures of every kind become the model's square, and hostile bytes a sentence."""

import io
import struct
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lumen_resources.model.layouts import Preprocess
from lumen_serving.errors import BadImage
from lumen_serving.media import images
from lumen_serving.media.preprocess import Normaliser, crop_offset, resized_size


def a_preprocess(size=32, mode="shortest", interpolation="bicubic") -> Preprocess:
    return Preprocess(size, mode, interpolation, tiny_models.MEAN, tiny_models.STD)


def reference(picture: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """open_clip's steps by Pillow alone, on the whole picture."""
    resample = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}[preprocess.interpolation]
    return np.asarray(
        tiny_models.square(picture, preprocess.size, preprocess.resize_mode, resample)
    )


def refusal(payload: bytes, mime: str = "") -> str:
    with pytest.raises(BadImage) as caught:
        images.decode_rgb(payload, mime, a_preprocess())
    assert caught.value.message.endswith(".")
    return caught.value.message


def png_header(width: int, height: int, *, bits=8, colour=2) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + b"\0" * 14


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize(
    ("width", "height"), [(80, 60), (60, 80), (97, 33), (32, 32), (33, 32), (20, 21), (120, 32)]
)
def test_lossless_pictures_equal_open_clips_steps_bit_for_bit(width, height, mode, interpolation):
    picture = tiny_models.a_picture(1, width, height)
    preprocess = a_preprocess(mode=mode, interpolation=interpolation)

    got = images.decode_rgb(tiny_models.encoded(picture, "PNG"), "image/png", preprocess)

    assert got.tobytes() == reference(picture, preprocess).tobytes()


@pytest.mark.parametrize(("width", "height"), [(400, 3), (3, 400), (900, 31), (1, 300)])
def test_a_very_long_picture_is_cut_before_it_is_resized_and_looks_the_same(width, height):
    picture = tiny_models.a_picture(2, width, height)

    got = images.decode_rgb(tiny_models.encoded(picture, "PNG"), "", a_preprocess())

    apart = tiny_models.levels_apart(got, reference(picture, a_preprocess()))
    assert apart.max() <= 2
    assert apart.mean() < 0.01


def test_a_jpeg_at_its_own_size_equals_pillows_decoding():
    payload = tiny_models.a_jpeg(3, 64, 48)

    got = images.decode_rgb(payload, "image/jpeg", a_preprocess())

    wanted = reference(Image.open(io.BytesIO(payload)), a_preprocess())
    assert tiny_models.levels_apart(got, wanted).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(257, 193), (640, 480), (1001, 777)])
def test_a_jpeg_decoded_at_a_fraction_stays_within_a_level_on_average(width, height):
    payload = tiny_models.encoded(tiny_models.a_picture(4, width, height), quality=95)

    got = images.decode_rgb(payload, "", a_preprocess())

    apart = tiny_models.levels_apart(
        got, reference(Image.open(io.BytesIO(payload)), a_preprocess())
    )
    assert apart.mean() < 0.4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_orientation_turns_the_picture_upright(container, orientation):
    upright = tiny_models.a_picture(5, 70, 50)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    # The stored pixels are the upright ones turned the other way.
    stored = upright
    if orientation in undo:
        stored = upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if container == "WEBP" else {"quality": 95}
    payload = tiny_models.encoded(stored, container, exif=exif.tobytes(), **options)

    got = images.decode_rgb(payload, "", a_preprocess())

    assert tiny_models.levels_apart(got, reference(upright, a_preprocess())).mean() < 4


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(mode):
    grey = tiny_models.a_picture(6, 48, 40).convert("L")
    colour = tiny_models.a_picture(6, 48, 40)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        wanted = grey
    elif mode in {"L", "LA", "1"}:
        picture = wanted = grey.convert(mode)
    else:
        picture = wanted = colour.convert(mode)
    payload = tiny_models.encoded(picture, "JPEG" if mode == "CMYK" else "PNG")

    got = images.decode_rgb(payload, "", a_preprocess())

    assert tiny_models.levels_apart(got, reference(wanted, a_preprocess())).mean() < 4
    assert got.shape == (32, 32, 3)


def test_a_sixteen_bit_colour_png_keeps_its_colours():
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0x0000) * 32
    body = zlib.compress(row * 32)
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    payload = b"\x89PNG\r\n\x1a\n"
    for chunk in (ihdr, b"IDAT" + body, b"IEND"):
        payload += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))

    got = images.decode_rgb(payload, "image/png", a_preprocess())

    assert got[5, 5].tolist() == [255, 128, 0]


def test_alpha_is_dropped_as_open_clip_drops_it():
    picture = tiny_models.a_picture(7, 40, 40).convert("RGBA")
    picture.putalpha(0)

    got = images.decode_rgb(tiny_models.encoded(picture, "PNG"), "", a_preprocess())

    assert got.tobytes() == reference(picture.convert("RGB"), a_preprocess()).tobytes()


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_any_truncation_is_refused_with_a_sentence(container):
    payload = tiny_models.encoded(tiny_models.a_picture(8), container)

    for kept in (4, 12, 20, 30, len(payload) // 4, len(payload) // 2, len(payload) * 9 // 10):
        assert refusal(payload[:kept])


def an_animation(container: str, **options: object) -> bytes:
    frames = [tiny_models.a_picture(i) for i in range(3)]
    options |= {"save_all": True, "append_images": frames[1:], "duration": 40}
    return tiny_models.encoded(frames[0], container, **options)


def a_webp_of_a_frame_off_the_corner() -> bytes:
    """An animation whose first frame fills a part of its whole."""
    lossless = tiny_models.encoded(tiny_models.a_picture(3, 30, 20), "WEBP", lossless=True)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body

    def number(value: int) -> bytes:
        return value.to_bytes(3, "little")

    frame = number(8) + number(5) + number(29) + number(19) + number(40) + b"\0" + lossless[12:]
    head = chunk(b"VP8X", b"\x02\0\0\0" + number(69) + number(49)) + chunk(b"ANIM", bytes(6))
    body = b"WEBP" + head + chunk(b"ANMF", frame) * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "payload",
    [
        an_animation("PNG"),
        an_animation("PNG", default_image=True),
        an_animation("WEBP", lossless=True),
        an_animation("AVIF"),
        a_webp_of_a_frame_off_the_corner(),
    ],
    ids=["PNG", "PNG with another picture in front", "WebP", "AVIF", "WebP of a part"],
)
def test_of_an_animation_its_first_frame_is_taken_as_pillow_shows_it(payload):
    got = images.decode_rgb(payload, "", a_preprocess())

    wanted = reference(Image.open(io.BytesIO(payload)).convert("RGB"), a_preprocess())
    assert got.tobytes() == wanted.tobytes()


def test_an_animation_of_thousands_of_frames_costs_its_first():
    frames = an_animation("WEBP", lossless=True)
    at = frames.index(b"ANMF")
    end = at + 8 + int.from_bytes(frames[at + 4 : at + 8], "little")
    body = frames[8:end] + frames[at:end] * 3000
    payload = b"RIFF" + struct.pack("<I", len(body)) + body

    assert images.look(payload, "", a_preprocess()).peak_bytes < 4 * len(payload)
    assert images.decode_rgb(payload, "", a_preprocess()).shape == (32, 32, 3)


def a_jpeg_that_claims(width: int, height: int) -> bytes:
    payload = bytearray(tiny_models.a_jpeg())
    frame = payload.index(b"\xff\xc0")
    payload[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(payload)


A_PICTURE = tiny_models.a_picture(0)
NOT_ACCEPTED = "JPEG, PNG, WebP or AVIF"


@pytest.mark.parametrize(
    ("payload", "mime", "words"),
    [
        (b"", "", ("empty", NOT_ACCEPTED)),
        (b"a photo of a cat", "", ("not a picture", NOT_ACCEPTED)),
        (b"\0" * 400, "", ("not a picture", NOT_ACCEPTED)),
        (tiny_models.encoded(A_PICTURE, "GIF"), "", ("GIF", NOT_ACCEPTED)),
        (tiny_models.encoded(A_PICTURE, "BMP"), "", ("BMP", NOT_ACCEPTED)),
        (tiny_models.encoded(A_PICTURE, "TIFF"), "", ("TIFF", NOT_ACCEPTED)),
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, "", ("HEIC", NOT_ACCEPTED)),
        *(
            (tiny_models.a_jpeg(), mime, (mime, "image/jpeg"))
            for mime in ("image/png", "image/webp", "text/plain", "image/heic")
        ),
        (png_header(20_000, 20_000), "", ("megapixels",)),
        (png_header(20_000, 20_000, bits=1, colour=0), "", ("megapixels",)),
        (png_header(9_000, 9_000), "", ("megapixels",)),
        (
            b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0" + b"\0" * 30,
            "",
            ("megapixels",),
        ),
        (
            b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + b"\0" * 30,
            "",
            ("megapixels",),
        ),
        (a_jpeg_that_claims(20_000, 20_000), "", ("megapixels",)),
    ],
)
def test_what_is_not_taken_is_refused_with_what_it_is_and_what_to_send(payload, mime, words):
    message = refusal(payload, mime)

    assert [word for word in words if word not in message] == []


def test_a_phones_jpeg_with_a_second_picture_inside_is_taken():
    payload = tiny_models.encoded(
        tiny_models.a_picture(0), "MPO", save_all=True, append_images=[tiny_models.a_picture(1)]
    )

    assert images.decode_rgb(payload, "image/jpeg", a_preprocess()).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "mime", ["", "image/jpeg", "IMAGE/JPG", "application/octet-stream", "image/jpeg; q=1"]
)
def test_a_generic_or_synonymous_mime_is_taken(mime):
    assert images.decode_rgb(tiny_models.a_jpeg(), mime, a_preprocess()).dtype == np.uint8


def test_unreadable_exif_does_not_cost_the_picture():
    payload = tiny_models.encoded(
        tiny_models.a_picture(0), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"
    )

    assert images.decode_rgb(payload, "", a_preprocess()).shape == (32, 32, 3)


@settings(max_examples=150)
@given(st.data())
def test_flipped_bytes_give_a_square_or_a_sentence_and_nothing_else(data):
    container = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "AVIF"]))
    payload = bytearray(tiny_models.encoded(tiny_models.a_picture(9, 40, 30), container))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] = data.draw(st.integers(0, 255))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, said = (32, 32, 3), "."
        try:
            shape = images.decode_rgb(bytes(payload), "", a_preprocess()).shape
        except BadImage as error:
            said = error.message

    assert (shape, said[-1]) == ((32, 32, 3), ".")


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_resized_picture_always_covers_the_crop(width, height):
    size = resized_size(width, height, a_preprocess(224))

    assert min(size) == 224
    for way in ("even", "down"):
        preprocess = replace(a_preprocess(224), crop=way)
        assert all(0 <= crop_offset(edge, preprocess) <= edge - 224 for edge in size)


def test_sizes_round_as_torchvision_rounds_them():
    # Long edges are truncated (299 * 1.5 = 448.5), half offsets go to the even number.
    assert resized_size(3, 2, a_preprocess(299)) == (448, 299)
    assert [crop_offset(edge, a_preprocess(224)) for edge in (225, 227, 229)] == [0, 2, 2]
    transformers = replace(a_preprocess(224), crop="down")
    assert [crop_offset(edge, transformers) for edge in (225, 227, 229)] == [0, 1, 2]


def test_normalising_equals_float32_arithmetic_bit_for_bit():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)

    got = Normaliser.of(a_preprocess())(pictures)

    unit = pictures.astype(np.float32) / np.float32(255)
    wanted = (unit - np.float32(tiny_models.MEAN)) / np.float32(tiny_models.STD)
    assert got.tobytes() == np.ascontiguousarray(wanted.transpose(0, 3, 1, 2)).tobytes()
