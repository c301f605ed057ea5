"""HEIC becomes a picture that servers decode, upright and small enough to be sent."""

import io
import resource
import struct

import numpy as np
import pytest
import tiny_models
from PIL import Image as PilImage

from lumen_client import ContentError, pictures
from lumen_client.content import read_payload
from lumen_pictures.pixels import turned
from lumen_resources.model.layouts import Preprocess
from lumen_serving.media import images

pillow_heif = pytest.importorskip("pillow_heif")
PICTURE = tiny_models.a_picture(5, 90, 62)


def a_heic(picture: PilImage.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, quality=90, **options)
    return buffer.getvalue()


def seen(payload: bytes, side: int = 32) -> np.ndarray:
    preprocess = Preprocess(side, "squash", "bicubic", tiny_models.MEAN, tiny_models.STD)
    return images.decode_rgb(payload, "", preprocess)


def square(picture: PilImage.Image, side: int = 32) -> np.ndarray:
    return np.asarray(tiny_models.square(picture, side, "squash", PilImage.BICUBIC))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_heic_looks_as_what_it_was_made_of(mode):
    payload = read_payload(a_heic(PICTURE.convert(mode)))

    assert payload.mime == "image/png"
    apart = tiny_models.levels_apart(
        seen(payload.data), square(PICTURE.convert(mode).convert("RGB"))
    )
    assert apart.mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_upright(orientation):
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    file = a_heic(PICTURE, exif=exif.tobytes())

    by_bytes = read_payload(file).data
    by_pillow = read_payload(pillow_heif.HeifImageFile(io.BytesIO(file))).data

    assert by_bytes == by_pillow
    assert tiny_models.levels_apart(seen(by_bytes), square(turned(PICTURE, orientation))).mean() < 4


def test_a_heic_of_more_pixels_than_a_payload_takes_is_reduced():
    picture = PICTURE.resize((5200, 3900), PilImage.Resampling.BICUBIC)

    payload = read_payload(a_heic(picture))

    assert PilImage.open(io.BytesIO(payload.data)).size == (2600, 1950)
    assert len(payload.data) <= pictures.MAX_PAYLOAD_BYTES
    assert tiny_models.levels_apart(seen(payload.data, 224), square(picture, 224)).mean() < 2


def test_any_truncation_of_a_heic_is_one_sentence():
    file = a_heic(PICTURE)

    for kept in (12, 40, 100, len(file) // 2, len(file) - 20):
        with pytest.raises(ContentError, match="is damaged or incomplete"):
            read_payload(file[:kept])


@pytest.mark.parametrize("claimed", [(60_000, 60_000), (30_000, 20_000), (16_000, 16_001)])
def test_a_heic_that_claims_to_be_huge_is_refused_before_it_is_decoded(claimed):
    file = a_heic(PICTURE)
    coded = [at for at in range(len(file)) if file.startswith(b"ispe", at)]
    for at in coded:
        file = file[: at + 8] + struct.pack(">II", *claimed) + file[at + 16 :]

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ContentError, match=r"damaged or incomplete|megapixels"):
        read_payload(file)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib

    assert coded
    assert grown_kib < 64 << 10


def test_a_second_picture_inside_is_left_alone():
    heif = pillow_heif.from_pillow(PICTURE)
    heif.add_from_pillow(tiny_models.a_picture(9, 40, 40))
    buffer = io.BytesIO()
    heif.save(buffer, quality=90)

    sent = PilImage.open(io.BytesIO(read_payload(buffer.getvalue()).data))

    assert sent.size == PICTURE.size
