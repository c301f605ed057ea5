"""JSON as other people's editors save it: with a byte order mark, or in an encoding that is none.

Every JSON file of a repository is read through here.
"""

import codecs
from pathlib import Path
from typing import Any

import orjson

from lumen_manifest.reading.regular_files import read_bounded

MAX_META_BYTES = 64 * 1024
# Nothing that is read here nests further than some ten levels; what walks or shows a document of a
# thousand runs out of stack, in Python and in the libraries that it is handed to.
MAX_DEPTH = 100
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def parse_json(content: bytes) -> Any:
    """Return the document; raises ValueError, which says what is wrong."""
    document = orjson.loads(utf8(content))
    _refuse_depth(document)
    return document


def _refuse_depth(document: Any) -> None:
    """Raise ValueError for lists and objects within each other without end; a level at a time."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            each
            for parent in level
            for each in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


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
