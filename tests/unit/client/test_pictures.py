"""A picture has one vector: what the model sees is the same by whichever door it comes."""

import base64
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile_pictures
import numpy as np
import pytest
import tiny_models
from PIL import Image as PilImage
from PIL import ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from tiny_models import encoded

from lumen_client import ContentError, Image, pictures
from lumen_client.content import read_payload
from lumen_resources.model.layouts import Preprocess
from lumen_serving.media import images

SQUARE = Preprocess(32, "shortest", "bicubic", tiny_models.MEAN, tiny_models.STD)
COLOUR = tiny_models.a_picture(5, 46, 38)
GREY = COLOUR.convert("L")


def seen(payload: bytes, preprocess: Preprocess = SQUARE) -> np.ndarray:
    """What a server makes of a payload."""
    return images.decode_rgb(payload, "", preprocess)


def pillows(file: bytes) -> np.ndarray:
    """What open_clip makes of a file: upright, in RGB."""
    picture = ImageOps.exif_transpose(PilImage.open(io.BytesIO(file)))
    return np.asarray(tiny_models.square(picture, 32, "shortest", PilImage.BICUBIC))


def exif_of(orientation: int) -> bytes:
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def frames(container: str, **options: object) -> bytes:
    more = [tiny_models.a_picture(seed, 46, 38) for seed in (6, 7)]
    return encoded(COLOUR, container, save_all=True, append_images=more, **options)


def sixteen_bits(channels: int) -> bytes:
    levels = np.random.default_rng(3).integers(0, 1 << 16, (38, 46, channels), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", 46, 38, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunk = hostile_pictures.png_chunk
    return b"".join(
        (
            hostile_pictures.PNG_SIGNATURE,
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def a_ycck() -> bytes:
    """A CMYK JPEG whose Adobe marker says that its inks are stored as YCCK."""
    payload = bytearray(encoded(COLOUR.convert("CMYK"), "JPEG"))
    payload[payload.index(b"Adobe") + 11] = 2
    return bytes(payload)


def with_much_metadata() -> bytes:
    texts = PngInfo()
    texts.add_text("a", "b" * (700 << 10), zip=True)
    texts.add_itxt("c", "d" * (700 << 10), zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(COLOUR, "PNG", pnginfo=texts, icc_profile=profile + bytes(700 << 10))


FILES: Mapping[str, Callable[[], bytes]] = {
    **{
        f"{container} {turn}": lambda c=container, t=turn, o=options: encoded(
            COLOUR, c, exif=exif_of(t), **o
        )
        for container, options in (
            ("JPEG", {"quality": 95}),
            ("PNG", {}),
            ("WEBP", {"lossless": True}),
            ("AVIF", {}),
            ("TIFF", {}),
        )
        for turn in range(1, 9)
    },
    **{
        f"PNG {mode}": lambda m=mode: encoded(COLOUR.convert(m), "PNG")
        for mode in ("1", "L", "LA", "P", "RGBA")
    },
    "PNG P with tRNS": lambda: encoded(
        COLOUR.convert("P", palette=PilImage.Palette.ADAPTIVE), "PNG", transparency=3
    ),
    "PNG P with alphas": lambda: encoded(
        COLOUR.convert("P", palette=PilImage.Palette.ADAPTIVE), "PNG", transparency=bytes(range(99))
    ),
    "PNG I;16": lambda: encoded(
        PilImage.fromarray(np.asarray(GREY).astype(np.uint16) * 257), "PNG"
    ),
    "PNG of 16-bit colour": lambda: sixteen_bits(3),
    "PNG of 16-bit grey and alpha": lambda: sixteen_bits(2),
    "PNG of 16-bit colour and alpha": lambda: sixteen_bits(4),
    "PNG with much metadata": with_much_metadata,
    "APNG": lambda: frames("PNG"),
    "animated WebP": lambda: frames("WEBP", lossless=True),
    "animated AVIF": lambda: frames("AVIF"),
    "animated GIF": lambda: frames("GIF"),
    "GIF": lambda: encoded(COLOUR, "GIF"),
    "MPO": lambda: frames("MPO"),
    "JPEG L": lambda: encoded(GREY, "JPEG"),
    "JPEG CMYK": lambda: encoded(COLOUR.convert("CMYK"), "JPEG"),
    "JPEG YCCK": a_ycck,
    "JPEG in scans": lambda: encoded(COLOUR, "JPEG", progressive=True),
    "JPEG with a tail": lambda: encoded(COLOUR, "JPEG") + b"\0" * 5000 + b"MakerNote",
    "TIFF CMYK": lambda: encoded(COLOUR.convert("CMYK"), "TIFF"),
    "TIFF in tiles": lambda: encoded(COLOUR, "TIFF", compression="tiff_deflate", tile=(16, 16)),
    "TIFF 1": lambda: encoded(COLOUR.convert("1"), "TIFF", compression="group4"),
    "TIFF RGBA": lambda: encoded(COLOUR.convert("RGBA"), "TIFF"),
    "TIFF of float levels": lambda: encoded(GREY.convert("F"), "TIFF"),
    "BMP": lambda: encoded(COLOUR, "BMP"),
    "BMP 1": lambda: encoded(COLOUR.convert("1"), "BMP"),
    "1 x 1": lambda: encoded(COLOUR.resize((1, 1)), "PNG"),
    "400 x 3": lambda: encoded(COLOUR.resize((400, 3)), "PNG"),
    "3 x 400": lambda: encoded(COLOUR.resize((3, 400)), "BMP"),
}
# Pillow cuts their levels off, or scales them otherwise than it does colours.
NOT_AS_PILLOW = {"PNG I;16", "400 x 3", "3 x 400"}


def loaded(file: bytes) -> PilImage.Image:
    picture = PilImage.open(io.BytesIO(file))
    picture.load()
    return picture


DOORS: Mapping[str, Callable[[Path, bytes], Any]] = {
    "a path": lambda path, _: path,
    "a string": lambda path, _: str(path),
    "bytes": lambda _, file: file,
    "a bytearray": lambda _, file: bytearray(file),
    "an open file": lambda path, _: path.open("rb"),
    "bytes in memory, read to their end": lambda _, file: at_its_end(file),
    "a socket": lambda _, file: Dribbling(file),
    "a data URI that lies": lambda _, file: (
        "data:image/webp;base64," + base64.b64encode(file).decode()
    ),
    "Image of a path": lambda path, _: Image(path),
    "Pillow's, opened": lambda path, _: PilImage.open(path),
    "Pillow's, loaded": lambda _, file: loaded(file),
    "Pillow's, copied": lambda _, file: loaded(file).copy(),
}


def at_its_end(file: bytes) -> io.BytesIO:
    buffer = io.BytesIO(file)
    buffer.read()
    return buffer


class Dribbling:
    """Reads as a socket does: without a beginning to go to, and a little at a time."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, 700) if size >= 0 else 700)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_looks_the_same_by_every_door(name, tmp_path):
    file = FILES[name]()
    path = tmp_path / "a picture"
    path.write_bytes(file)

    squares = {door: seen(read_payload(give(path, file)).data) for door, give in DOORS.items()}

    wanted = squares.pop("a path")
    assert {
        door: int(tiny_models.levels_apart(got, wanted).max()) for door, got in squares.items()
    } == dict.fromkeys(squares, 0)
    if name not in NOT_AS_PILLOW:
        assert tiny_models.levels_apart(wanted, pillows(file)).max() <= 1


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.split()[0] not in ("TIFF", "BMP", "3")]
)
def test_what_a_server_decodes_is_sent_unchanged(name, tmp_path):
    file = FILES[name]()

    sent = read_payload(file).data

    assert (sent == file) is ("GIF" not in name)
    # Pillow reads some files to their end when it opens them.
    if not name.startswith(("WEBP", "animated")):
        assert read_payload(PilImage.open(io.BytesIO(file))).data == sent


MODES = [
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "La",
    "RGBa",
    "LAB",
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
]


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_in_memory_of_any_mode_is_taken(mode):
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        picture = ImageCms.profileToProfile(COLOUR, *profiles, outputMode="LAB")
    elif mode.startswith("I"):
        picture = PilImage.fromarray(np.asarray(GREY).astype(np.int32) * 257)
        picture = picture if mode == "I" else picture.convert("I;16").convert("I").convert(mode)
    elif mode in {"La", "RGBa"}:
        picture = COLOUR.convert(mode.upper()).convert(mode)
    elif mode == "PA":
        picture = COLOUR.convert("P").convert("PA")
    else:
        picture = COLOUR.convert(mode)

    got = seen(read_payload(picture).data)

    grey = mode in {"1", "L", "LA", "La", "F"} or mode.startswith("I")
    wanted = seen(encoded(GREY if grey else COLOUR, "PNG"))
    assert tiny_models.levels_apart(got, wanted).mean() < (60 if mode == "1" else 8)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_grey_in_floats_is_taken_as_fractions_or_as_levels(top):
    levels = np.asarray(GREY).astype(np.float32)
    file = encoded(PilImage.fromarray(levels * (top / 255)), "TIFF")

    got = seen(read_payload(file).data)

    wanted = seen(encoded(GREY, "PNG"))
    assert tiny_models.levels_apart(got, wanted).max() <= 1


def test_floats_that_are_no_numbers_are_black_or_white():
    levels = np.full((40, 40), np.nan, np.float32)
    levels[:20] = np.inf

    got = seen(read_payload(PilImage.fromarray(levels)).data)

    assert (got[3, 3].tolist(), got[28, 28].tolist()) == ([255] * 3, [0] * 3)


def test_a_picture_in_memory_keeps_what_its_owner_knows_of_it():
    picture = loaded(encoded(COLOUR, "PNG", dpi=(9, 9)))
    before = dict(picture.info)

    read_payload(picture)

    assert picture.info == before
    assert picture.tobytes() == COLOUR.tobytes()


def test_a_png_of_more_metadata_than_pillow_unpacks_is_sent_as_it_is(tmp_path):
    text = b"a\0\0" + zlib.compress(bytes(3 << 20))
    for kind, body in ((b"zTXt", text), (b"iTXt", b"a\0\1" + text[2:]), (b"iCCP", text)):
        chunk = hostile_pictures.png_chunk(kind, body)
        file = encoded(COLOUR, "PNG")
        at = file.index(b"IDAT") - 4
        behind = file[:-12] + chunk + file[-12:]

        for payload in (file[:at] + chunk + file[at:], behind):
            assert read_payload(payload).data == payload
            assert seen(payload).tobytes() == seen(file).tobytes()
        # Pillow opens the one with its text behind the pixels, and fails when it reads them.
        assert read_payload(PilImage.open(io.BytesIO(behind))).data == behind


def test_a_palette_with_alphas_is_made_rgb_without_a_warning():
    file = FILES["PNG P with alphas"]()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = seen(read_payload(loaded(file)).data)

    assert got.tobytes() == seen(file).tobytes()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (io.StringIO("a cat"), "binary mode"),
        (io.BytesIO(), "is empty"),
        (Dribbling(b"a cat"), "is text, not a picture"),
    ],
)
def test_an_open_file_that_gives_no_picture_is_told_why(file, says):
    with pytest.raises(ContentError, match=says):
        read_payload(file)


def test_another_frame_is_sent_when_its_owner_went_there():
    picture = PilImage.open(io.BytesIO(frames("PNG")))
    picture.seek(1)

    got = seen(read_payload(picture).data)

    assert got.tobytes() == seen(encoded(tiny_models.a_picture(6, 46, 38), "PNG")).tobytes()


def test_one_opened_picture_is_read_by_many_threads():
    file = encoded(tiny_models.a_picture(1, 900, 700), "PNG")
    for give in (PilImage.open(io.BytesIO(each)) for each in (file, encoded(COLOUR, "TIFF"))):
        with ThreadPoolExecutor(8) as pool:
            sent = set(pool.map(lambda item: read_payload(item).data, [give] * 40))
        assert len(sent) == 1


@pytest.mark.parametrize(
    ("size", "sent_as", "sent_size"),
    [
        ((8064, 6048), "PNG", (4032, 3024)),
        ((4200, 4200), "PNG", (2100, 2100)),
        ((6000, 4000), "PNG", (3000, 2000)),
        ((20_000, 1000), "JPEG", (20_000, 1000)),
        ((4000, 3000), "PNG", (4000, 3000)),
    ],
)
def test_a_picture_too_large_for_a_payload_is_reduced_and_looks_the_same(size, sent_as, sent_size):
    noise = PilImage.effect_noise((size[0] // 8, size[1] // 8), 90)
    picture = PilImage.merge("RGB", (noise, noise.rotate(180), noise.point(lambda v: 255 - v)))
    picture = picture.resize(size, PilImage.Resampling.NEAREST)

    payload = read_payload(picture)

    sent = PilImage.open(io.BytesIO(payload.data))
    assert (sent.format, sent.size) == (sent_as, sent_size)
    assert len(payload.data) <= pictures.MAX_PAYLOAD_BYTES
    for side in (224, 512):
        preprocess = Preprocess(side, "squash", "bicubic", tiny_models.MEAN, tiny_models.STD)
        wanted = tiny_models.square(picture, side, "squash", PilImage.BICUBIC)
        apart = tiny_models.levels_apart(seen(payload.data, preprocess), np.asarray(wanted))
        print(size, side, f"{apart.mean():.3f} levels apart, at most {apart.max()}")
        assert apart.mean() < 0.5
