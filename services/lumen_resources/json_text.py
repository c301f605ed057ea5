"""JSON as other people's editors save it: with a byte order mark, or in an encoding that is none.

Every JSON file of a repository is read through here.
"""

import codecs
from pathlib import Path
from typing import Any

import orjson

from lumen_manifest.reading.regular_files import read_bounded

MAX_META_BYTES = 64 * 1024
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def parse_json(content: bytes) -> Any:
    """Return the document; raises ValueError, which says what is wrong."""
    return orjson.loads(utf8(content))


def utf8(content: bytes) -> bytes:
    """Return the text without its mark; raises ValueError when it is UTF-16 or UTF-32."""
    # JSON begins with an ASCII character: a zero byte beside it is half of a wider one.
    if content.startswith(_UTF16) or 0 in content[:2]:
        raise ValueError("it is UTF-16 or UTF-32, not UTF-8: save it with that encoding")
    return content.removeprefix(codecs.BOM_UTF8)


def read_meta(path: Path) -> dict[str, Any]:
    """Return the small object that says what a file beside it was made from; {} without one."""
    try:
        document = parse_json(read_bounded(path, MAX_META_BYTES))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
