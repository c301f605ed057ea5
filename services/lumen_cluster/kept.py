"""Whether what is kept of an object can be kept, and what stands for one that cannot.

Pure. A follower asks it of every object, so that nobody's object takes more memory than is his due
or breaks who compares, writes or walks it.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import orjson

from lumen_cluster.objects import Raw

KEPT_MAX_BYTES: Final = 256 * 1024
"""As JSON. A spec has 64 KiB at most; beside it stand a status and the labels."""
LABELS_MAX: Final = 64

ODD: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading an object of an unexpected shape may raise."""

_LEFT_OUT = "leftOut"
_IDENTITY = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
)


def reason_to_leave_out(kept: Raw) -> str:
    """Return why an object cannot be kept, empty when it can."""
    try:
        size = len(orjson.dumps(kept))
    except (TypeError, RecursionError):
        return "a value in it is nested too deeply, or is too large a number: remove it"
    if size > KEPT_MAX_BYTES:
        return f"it is larger than {KEPT_MAX_BYTES >> 10} KiB: make it smaller"
    return ""


def identity(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an object's metadata what says which object it is and which state of it."""
    return {key: metadata[key] for key in _IDENTITY if key in metadata}


def left_out(raw: Raw, why: str) -> Raw:
    """Return what stands for an object that is left out: whose it is, and why."""
    known = raw.get("metadata")
    metadata: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
    labels = metadata.get("labels")
    few = dict(islice(labels.items(), LABELS_MAX)) if isinstance(labels, Mapping) else {}
    return {
        **{key: raw[key] for key in ("apiVersion", "kind") if key in raw},
        "metadata": {
            **identity(metadata),
            **({"labels": few} if few else {}),
        },
        _LEFT_OUT: why,
    }


def why_left_out(kept: Raw) -> str:
    """Return why an object was left out, empty when it was not."""
    return str(kept.get(_LEFT_OUT, ""))
