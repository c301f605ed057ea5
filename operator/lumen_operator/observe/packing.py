"""Large objects, packed: a spec of 64 KiB is a megabyte of Python objects, and a tenth as text.

`store` keeps those whole that are small, which is nearly all, and of the others a head: what is
read of every object at once.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from lumen_operator.observe import decode

Raw = Mapping[str, Any]

PACK_BYTES = 8 * 1024
"""As JSON; a service with its usual fields has two to three KiB, its Deployment six."""
_LEVEL = 1
_SHORT = 256


def packed(raw: Raw) -> bytes | None:
    """Return an object as compressed text; None when it is not worth it, or is not JSON."""
    try:
        text = orjson.dumps(raw)
    except TypeError:
        return None
    return zlib.compress(text, _LEVEL) if len(text) > PACK_BYTES else None


def unpacked(text: bytes) -> Raw:
    """Return the object that was packed."""
    found: Raw = orjson.loads(zlib.decompress(text))
    return found


def head_of(raw: Raw) -> Raw:
    """Return of an object what is read of many at once: whose it is, short fields, conditions."""
    metadata = decode.mapping(raw, "metadata")
    status = decode.mapping(raw, "status")
    conditions = [_short(each) for each in decode.items(status, "conditions")]
    return {
        **_short(raw),
        "metadata": {k: v for k, v in metadata.items() if k != "managedFields"},
        "spec": _short(decode.mapping(raw, "spec")),
        "status": {**_short(status), "conditions": conditions},
    }


def _short(raw: Raw) -> Raw:
    return {
        key: value
        for key, value in raw.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _SHORT)
    }
