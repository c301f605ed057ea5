"""What is a file, whatever its name says, and what is its sender told?"""

import io
import struct
import zipfile
import zlib

import pytest
import tiny_models

from lumen_pictures import kinds
from lumen_pictures.containers import jpeg, png
from lumen_pictures.kinds import kind_of
from lumen_pictures.refusals import PictureRefused


def pillows(container: str, mode: str = "RGB") -> bytes:
    return tiny_models.encoded(tiny_models.a_picture(0).convert(mode), container)


def a_box_file(major: bytes, *brands: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(brands)
    return struct.pack(">I", 4 + len(body)) + body + bytes(100)


def a_tiff_of(*tags: tuple[int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(60)


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (pillows("JPEG"), "image/jpeg"),
        (pillows("MPO"), "image/jpeg"),
        (pillows("PNG"), "image/png"),
        (pillows("WEBP"), "image/webp"),
        (pillows("AVIF"), "image/avif"),
        (a_box_file(b"mif1", b"mif1", b"avif", b"miaf"), "image/avif"),
        (a_box_file(b"avis", b"avis", b"msf1"), "image/avif"),
    ],
)
def test_what_a_server_decodes_is_known_by_its_bytes(payload, wanted):
    assert kind_of(payload).mime == kinds.served_mime(payload) == wanted


@pytest.mark.parametrize(
    ("payload", "noun"),
    [
        (b"", "empty"),
        (pillows("GIF"), "a GIF"),
        (pillows("BMP"), "a BMP"),
        (pillows("TIFF"), "a TIFF"),
        (b"MM\0+" + bytes(60), "a BigTIFF"),
        (pillows("ICO"), "an icon file"),
        (pillows("PPM"), "a Netpbm picture"),
        (pillows("JPEG2000"), "a JPEG 2000"),
        (pillows("PDF"), "a PDF"),
        (a_tiff_of((0xC612, 1)), "a camera's raw file"),
        (a_tiff_of((0xFE, 1), (0x14A, 8)), "a camera's raw file"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "a camera's raw file"),
        (a_box_file(b"crx "), "a camera's raw file"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(90), "a camera's raw file"),
        (a_box_file(b"heic", b"mif1", b"heic"), "a HEIC picture"),
        (a_box_file(b"mif1", b"mif1", b"heic"), "a HEIC picture"),
        (a_box_file(b"msf1", b"hevc"), "a HEIC picture"),
        (a_box_file(b"isom", b"isom", b"mp42"), "a video"),
        (a_box_file(b"qt  "), "a video"),
        (b"\x1a\x45\xdf\xa3" + bytes(60), "a video"),
        (b"RIFF\0\0\1\0AVI LIST", "a video"),
        (b"RIFF\0\0\1\0WAVEfmt ", "a sound file, not a picture"),
        (b"\xff\x0a" + bytes(30), "a JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), "a JPEG XL"),
        (b"\xff\xd8\xff\xf7" + bytes(30), "a JPEG-LS"),
        (b"8BPS\0\1" + bytes(60), "a Photoshop document"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"\xef\xbb\xbf<svg/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html><svg/></html>", "a web page, not a picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not a picture"),
        (a_zip(), "an archive"),
        (b"\0\5\x16\7" + bytes(60), "what macOS keeps beside a file"),
        ("ein Foto einer Katze, süß".encode() * 50, "text, not a picture"),
        (bytes(4096), "zero bytes throughout, not a picture"),
        (b"BM, und sonst nichts", "text, not a picture"),
        (bytes(range(256)) * 9, "not a picture of a known format"),
        (b"RIFF\0\0\0\0JUNK" + bytes(9), "not a picture of a known format"),
    ],
)
def test_what_no_server_decodes_is_called_by_its_name(payload, noun):
    kind = kind_of(payload)

    assert (kind.noun, kind.mime) == (noun, "")
    assert kind.refusal("x.jpg").startswith(f"x.jpg is {noun}. ")
    assert kind.refusal("x.jpg").endswith(".")


@pytest.mark.parametrize("cut", range(1, 40))
def test_the_first_bytes_of_anything_are_looked_at_without_an_error(cut):
    for payload in (pillows("TIFF"), a_box_file(b"heic", b"mif1"), b"RIFF\0\0\0\0WEBPVP8 "):
        assert kind_of(payload[:cut]).noun


def of_another_frame(marker: int, bits: int = 8, height: bytes | None = None) -> bytes:
    payload = bytearray(tiny_models.a_jpeg())
    at = payload.index(b"\xff\xc0")
    payload[at + 1], payload[at + 4] = marker, bits
    if height is not None:
        payload[at + 5 : at + 7] = height
    return bytes(payload)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (of_another_frame(0xC1, bits=12), "has 12 bits a sample"),
        (of_another_frame(0xC3), "lossless"),
        (of_another_frame(0xC9), "arithmetic-coded"),
        (of_another_frame(0xCA), "arithmetic-coded"),
        (of_another_frame(0xC5), "hierarchical"),
        (of_another_frame(0xC0, height=b"\0\0"), "only behind its pixels"),
    ],
)
def test_a_jpeg_of_a_rare_kind_is_told_which_it_is(payload, says):
    with pytest.raises(PictureRefused, match=f"{says}.*Save it as a baseline JPEG"):
        jpeg.read(payload)


def test_a_compressed_text_of_a_png_is_unpacked_once_and_up_to_a_bound():
    bomb = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(200 << 20), 9)
    chunk = struct.pack(">I", len(bomb)) + b"iTXt" + bomb + bytes(4)
    payload = pillows("PNG")
    at = payload.index(b"IDAT") - 4

    assert png.read(payload[:at] + chunk * 50 + payload[at:]).orientation == 1
