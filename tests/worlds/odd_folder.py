"""A folder as people have them: good pictures of rare kinds, foreign files, broken ones, leftovers.

All of it is drawn here, nothing is kept in the repository. What is said of each file is by hand:
which picture it shows, or which words its error must hold.
"""

import importlib
import importlib.util
import io
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import hostile_pictures
import numpy as np
import tiny_models
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny_models import encoded

COLOUR = tiny_models.a_picture(3, 90, 70)
GREY = COLOUR.convert("L")
OTHERS = [tiny_models.a_picture(seed, 90, 70) for seed in (4, 5)]
HAS_HEIC = importlib.util.find_spec("pillow_heif") is not None

ODD_NAMES = (
    b"caf\xe9.jpg",
    b"line\nend \x1b[31mred.jpg",
    b"it's [a] {b} $HOME `x` %s.jpg",
    b"-rf.jpg",
    b"x" * 240 + b".jpg",
    "Größe 雪 🦋.jpg".encode(),
    "e\u0301te\u0301.jpg".encode(),
    b"[bold]markup[/bold].jpg",
)


@dataclass(frozen=True, slots=True)
class OddFolder:
    """`shows` names the picture of each file that is one, `refused` words of the others' errors.

    `left_out` is what is said of the rest.
    """

    path: Path
    shows: Mapping[str, Image.Image]
    refused: Mapping[str, str]
    left_out: Mapping[str, int]


def lay(path: Path) -> OddFolder:
    """Write the folder."""
    path.mkdir()
    good = _good()
    refused = _refused()
    contents = {name: file for name, (file, _) in (*good.items(), *refused.items())}
    for name, content in contents.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    (path / "linked.jpg").symlink_to("plain.jpg")
    shows = {name: shown for name, (_, shown) in good.items()}
    shows["linked.jpg"] = shows["plain.jpg"]
    return OddFolder(
        path, shows, {name: words for name, (_, words) in refused.items()}, _leftovers(path)
    )


def _turned(container: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(COLOUR, container, exif=exif.tobytes(), **options)


def _frames(container: str, **options: object) -> bytes:
    return encoded(COLOUR, container, save_all=True, append_images=OTHERS, **options)


def _patched_jpeg(at: int, value: int, marker: bytes = b"\xff\xc0") -> bytes:
    payload = bytearray(tiny_models.a_jpeg())
    payload[payload.index(marker) + at] = value
    return bytes(payload)


def _text_laden() -> bytes:
    texts = PngInfo()
    texts.add_text("prompt", "a photo of " * 300_000, zip=True)
    return encoded(COLOUR, "PNG", pnginfo=texts)


def _shown(content: bytes) -> Image.Image:
    """What Pillow shows of a file that loses something when it is written."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def _good() -> dict[str, tuple[bytes, Image.Image]]:
    """Return (content, what it shows) by name."""
    plain, in_scans, two = (
        encoded(COLOUR, "JPEG", quality=95),
        encoded(COLOUR, "JPEG", quality=95, progressive=True),
        _frames("MPO", quality=95),
    )
    still, moving = encoded(COLOUR, "AVIF", quality=95), _frames("AVIF", quality=95)
    in_inks, moving_gif = encoded(COLOUR.convert("CMYK"), "JPEG", quality=95), _frames("GIF")
    turned = _turned("JPEG", 6, quality=95)
    shown = _shown(plain)
    palette = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)
    black_and_white = COLOUR.convert("1").convert("RGB")
    files = {
        "plain.jpg": (plain, shown),
        "PHOTO.JPEG": (plain, shown),
        "IMG_0001": (plain, shown),
        "img10.jpg": (plain, shown),
        "img2.jpg": (plain, shown),
        "a PNG.jpg": (encoded(COLOUR, "PNG"), COLOUR),
        "folder.jpg/inside.png": (encoded(COLOUR, "PNG"), COLOUR),
        "turned.jpg": (
            turned,
            _shown(turned).transpose(Image.Transpose.ROTATE_270),
        ),
        "mirrored.webp": (
            _turned("WEBP", 2, lossless=True),
            COLOUR.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        ),
        "upside down.tif": (_turned("TIFF", 3), COLOUR.transpose(Image.Transpose.ROTATE_180)),
        "in scans.jpg": (in_scans, _shown(in_scans)),
        "with a tail.jpg": (plain + b"SEFT" + bytes(4000), shown),
        "two inside.jpg": (two, _shown(two)),
        "inks.jpg": (in_inks, _shown(in_inks)),
        "grey.jpg": (encoded(GREY, "JPEG", quality=95), GREY),
        "deep grey.png": (
            encoded(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257), "PNG"),
            GREY,
        ),
        "grey and alpha.png": (encoded(GREY.convert("LA"), "PNG"), GREY),
        "alpha.png": (encoded(COLOUR.convert("RGBA"), "PNG"), COLOUR),
        "palette.png": (encoded(palette, "PNG", transparency=1), palette.convert("RGB")),
        "one bit.png": (encoded(COLOUR.convert("1"), "PNG"), black_and_white),
        "texts.png": (_text_laden(), COLOUR),
        "moves.png": (_frames("PNG"), COLOUR),
        "moves.webp": (_frames("WEBP", lossless=True), COLOUR),
        "moves.avif": (moving, _shown(moving)),
        "moves.gif": (moving_gif, _shown(moving_gif)),
        "still.avif": (still, _shown(still)),
        "scan.bmp": (encoded(COLOUR, "BMP"), COLOUR),
        "floats.tif": (encoded(GREY.convert("F"), "TIFF"), GREY),
        "tiny.png": (encoded(COLOUR.resize((1, 1)), "PNG"), COLOUR.resize((1, 1))),
        "long.png": (encoded(COLOUR.resize((900, 40)), "PNG"), COLOUR.resize((900, 40))),
        "large.jpg": (
            encoded(COLOUR.resize((6000, 4000)), "JPEG", quality=90),
            COLOUR.resize((6000, 4000)),
        ),
        **{os.fsdecode(name): (plain, shown) for name in ODD_NAMES},
    }
    if HAS_HEIC:
        files["phone.heic"] = (_a_heic(), COLOUR)
    return files


def _a_heic() -> bytes:
    pillow_heif = importlib.import_module("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(COLOUR).save(buffer, quality=95)
    return buffer.getvalue()


def _refused() -> dict[str, tuple[bytes, str]]:
    """Return (content, words of the error) by name."""
    film = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(500)
    files = {
        "cut.jpg": (tiny_models.a_jpeg()[:700], "damaged or incomplete"),
        "cut.png": (encoded(COLOUR, "PNG")[:900], "damaged or incomplete"),
        "cut.gif": (encoded(COLOUR, "GIF")[:60], "damaged or incomplete"),
        "words.jpg": (b"this is not a picture\n" * 9, "is text"),
        "page.jpg": (b"<!DOCTYPE html><html></html>", "is a web page"),
        "film.jpg": (film, "is a video"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
        "new.jpg": (b"\xff\x0a" + bytes(300), "is a JPEG XL"),
        "layers.png": (b"8BPS\0\1" + bytes(300), "is a Photoshop document"),
        "raw.tif": (b"II*\0\x10\0\0\0CR\2\0" + bytes(300), "is a camera's raw file"),
        "lost.jpg": (bytes(4096), "is zero bytes throughout"),
        "noise.png": (bytes(range(256)) * 8, "is not a picture of a known format"),
        "deep.jpg": (_patched_jpeg(4, 12), "has 12 bits a sample"),
        "coded.jpg": (_patched_jpeg(1, 0xC9), "arithmetic-coded"),
        "bomb.png": (hostile_pictures.a_png(20_000, 20_000, 1, 0), "megapixels"),
        "bomb.gif": (
            encoded(GREY, "GIF").replace(struct.pack("<HH", 90, 70), b"\xff\xff\xff\xff", 1),
            "megapixels",
        ),
    }
    if not HAS_HEIC:
        files["phone.heic"] = (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "pip install pillow-heif")
    return files


def _leftovers(path: Path) -> Mapping[str, int]:
    """Write what systems leave; return how many of each kind there are then."""
    for folder in (".thumbnails", "@eaDir", "#recycle"):
        (path / folder).mkdir()
        (path / folder / "x.jpg").write_bytes(tiny_models.a_jpeg())
    for name in ("._plain.jpg", ".DS_Store", "Thumbs.db", "notes.txt"):
        (path / name).write_bytes(b"\0\5\x16\7 left behind")
    (path / "empty.jpg").touch()
    (path / "gone.jpg").symlink_to("nowhere.jpg")
    (path / "loop.jpg").symlink_to("loop.jpg")
    (path / "again").symlink_to(path)
    os.mkfifo(path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(os.path.relpath(path / "socket.jpg"))
    return {
        "hidden": 3,
        "of the system": 3,
        "empty": 1,
        "broken links": 2,
        "links to folders": 1,
        "pipes, sockets, devices": 2,
        "other files": 1,
    }
