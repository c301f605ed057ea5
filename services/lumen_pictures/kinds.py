"""What a file is by its first bytes: its name and the mime that came with it may say anything.

Every kind that people do send has a noun and an advice, so that each refusal is true and helps.
Looks at the head alone, in a bounded number of steps.
"""

from dataclasses import dataclass

from lumen_pictures.containers import tiff

_SAVE_IT = "Save it as a JPEG, PNG, WebP or AVIF picture."
_SEND = "Send a JPEG, PNG, WebP or AVIF picture."
_DEVELOP = "Export it from a raw converter as a JPEG, PNG, WebP or AVIF picture."
_RENDER = "Render it as a JPEG, PNG, WebP or AVIF picture."
_ONE_FRAME = "Save one of its frames as a JPEG, PNG, WebP or AVIF picture."
_UNPACK = "Unpack it and send the JPEG, PNG, WebP or AVIF pictures inside."


@dataclass(frozen=True, slots=True)
class FileKind:
    """What bytes are.

    `noun` completes "The file is ...", `advice` is a sentence that says what to do; `mime` is
    empty unless a server decodes it.
    """

    noun: str
    advice: str = _SAVE_IT
    mime: str = ""

    def refusal(self, subject: str) -> str:
        """Return the sentences that refuse it; `subject` is what the caller calls it."""
        return f"{subject} is {self.noun}. {self.advice}"


JPEG = FileKind("a JPEG", mime="image/jpeg")
PNG = FileKind("a PNG", mime="image/png")
WEBP = FileKind("a WebP", mime="image/webp")
AVIF = FileKind("an AVIF", mime="image/avif")
GIF = FileKind("a GIF", _ONE_FRAME)
BMP = FileKind("a BMP")
TIFF = FileKind("a TIFF")
HEIC = FileKind("a HEIC picture")
EMPTY = FileKind("empty", _SEND)
JPEG_LS = FileKind("a JPEG-LS")
_RAW = FileKind("a camera's raw file", _DEVELOP)
_JPEG_XL = FileKind("a JPEG XL")
_JPEG_2000 = FileKind("a JPEG 2000")
_VIDEO = FileKind("a video", _ONE_FRAME)
_SOUND = FileKind("a sound file, not a picture", _SEND)
_ARCHIVE = FileKind("an archive", _UNPACK)
_SVG = FileKind("an SVG drawing", _RENDER)
_WEB_PAGE = FileKind(
    "a web page, not a picture", f"Check the address that it was fetched from. {_SEND}"
)
_POINTER = FileKind(
    "a Git LFS pointer, not a picture", "Fetch what it points to: git lfs pull. " + _SEND
)
_TEXT = FileKind("text, not a picture", _SEND)
_ZEROS = FileKind(
    "zero bytes throughout, not a picture", f"Its content was lost: copy it again. {_SEND}"
)
_UNKNOWN = FileKind("not a picture of a known format", _SEND)

_HEAD_BYTES = 1024
_MOST_BRANDS_BYTES = 128

# (place, bytes, kind): the first that fits. What begins alike stands in front: the longer first.
_SIGNATURES = (
    (0, b"\xff\xd8\xff\xf7", JPEG_LS),
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (8, b"WEBP", WEBP),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", _JPEG_2000),
    (0, b"\xff\x4f\xff\x51", _JPEG_2000),
    (0, b"II\xbc\x01", FileKind("a JPEG XR")),
    (0, b"II+\0", FileKind("a BigTIFF")),
    (0, b"MM\0+", FileKind("a BigTIFF")),
    (8, b"CR\2\0", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"FOVb", _RAW),
    (0, b"\0MRM", _RAW),
    (6, b"HEAPCCDR", _RAW),
    (0, b"8BPS", FileKind("a Photoshop document")),
    (0, b"gimp xcf", FileKind("a GIMP project", _RENDER)),
    (0, b"%PDF", FileKind("a PDF", _RENDER)),
    (0, b"%!PS", FileKind("a PostScript file", _RENDER)),
    (0, b"\xc5\xd0\xd3\xc6", FileKind("a PostScript file", _RENDER)),
    (0, b"AT&TFORM", FileKind("a DjVu document", _RENDER)),
    (0, b"\0\0\1\0", FileKind("an icon file")),
    (0, b"icns", FileKind("an icon file")),
    (0, b"\x76\x2f\x31\1", FileKind("an OpenEXR picture")),
    (0, b"#?RADIANCE", FileKind("a Radiance HDR picture")),
    (0, b"DDS ", FileKind("a DDS texture")),
    (0, b"qoif", FileKind("a QOI picture")),
    (0, b"SIMPLE  =", FileKind("a FITS file")),
    (128, b"DICM", FileKind("a DICOM file")),
    *((0, b"P%d" % which, FileKind("a Netpbm picture")) for which in range(1, 8)),
    (0, b"\0\5\x16\7", FileKind("what macOS keeps beside a file", "Send the file itself.")),
    (0, b"Bud1", FileKind("a folder's view settings of macOS, not a picture", _SEND)),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind("a document of Windows", _SEND)),
    (0, b"\x1a\x45\xdf\xa3", _VIDEO),
    (0, b"FLV\1", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"\0\0\1\xb3", _VIDEO),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _VIDEO),
    (4, b"moov", _VIDEO),
    (4, b"mdat", _VIDEO),
    (8, b"AVI ", _VIDEO),
    (8, b"WAVE", _SOUND),
    (0, b"ID3", _SOUND),
    (0, b"fLaC", _SOUND),
    (0, b"OggS", _SOUND),
    (0, b"PK\3\4", _ARCHIVE),
    (0, b"\x1f\x8b", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"Rar!\x1a\7", _ARCHIVE),
    (0, b"\xfd7zXZ\0", _ARCHIVE),
    (0, b"BZh", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
    (0, b"\x7fELF", FileKind("a program, not a picture", _SEND)),
    (0, b"MZ", FileKind("a program, not a picture", _SEND)),
    (0, b"SQLite format 3\0", FileKind("a database, not a picture", _SEND)),
    (0, b"version https://git-lfs", _POINTER),
)
_IN_RIFF = frozenset({b"WEBP", b"AVI ", b"WAVE"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})
_ANY_PICTURE_BRANDS = frozenset({b"mif1", b"msf1", b"mif2"})
# Tags of a TIFF's first directory.
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 0x00FE, 0x014A, 0xC612


def kind_of(payload: bytes) -> FileKind:
    """Return what a file is; only what no head tells is looked through as a whole."""
    if not payload:
        return EMPTY
    for at, magic, kind in _SIGNATURES:
        if payload.startswith(magic, at) and (magic not in _IN_RIFF or payload[:4] == b"RIFF"):
            return kind
    if _is_tiff(payload):
        return _RAW if _is_raw(payload) else TIFF
    if payload[4:8] == b"ftyp":
        return _by_brand(payload)
    return BMP if _is_bmp(payload) else _by_text(payload)


def served_mime(payload: bytes) -> str:
    """Return the mime of a picture that a server decodes, else an empty text."""
    return kind_of(payload).mime


def _by_brand(payload: bytes) -> FileKind:
    """Tell by the major brand, or by those after one that says no more than "pictures"."""
    major = payload[8:12]
    end = min(int.from_bytes(payload[:4], "big"), _MOST_BRANDS_BYTES)
    brands = {payload[at : at + 4] for at in range(16, end, 4)}
    if major in {b"avif", b"avis"}:
        return AVIF
    if major in _HEIC_BRANDS:
        return HEIC
    if major in {b"crx ", b"jxl "}:
        return _RAW if major == b"crx " else _JPEG_XL
    if b"avif" in brands:
        return AVIF
    if major in _ANY_PICTURE_BRANDS or brands & _HEIC_BRANDS:
        return HEIC
    return _VIDEO


def _is_tiff(payload: bytes) -> bool:
    return payload[:4] in tiff.BYTE_ORDERS


def _is_raw(payload: bytes) -> bool:
    """Whether the first picture of a TIFF is the preview of a raw one that lies behind it."""
    tags = tiff.numbers(payload)
    return _DNG_VERSION in tags or (_SUB_DIRECTORIES in tags and bool(tags.get(_SUBFILE_TYPE)))


def _is_bmp(payload: bytes) -> bool:
    """Whether the two letters are followed by a header of one of BMP's sizes."""
    header = int.from_bytes(payload[14:18], "little")
    return payload[:2] == b"BM" and header in {12, 16, 40, 52, 56, 64, 108, 124}


def _by_text(payload: bytes) -> FileKind:
    head = payload[:_HEAD_BYTES]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return _WEB_PAGE
    if text.startswith(b"<") and b"<svg" in text:
        return _SVG
    if payload.count(0) == len(payload):
        return _ZEROS
    return _TEXT if _reads_as_text(head) else _UNKNOWN


def _reads_as_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if len(head) < _HEAD_BYTES or error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()  # a character is cut at the end
    return all(character.isprintable() or character in "\r\n\t" for character in text)
