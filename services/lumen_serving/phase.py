"""Where the server is in its life, and what it says of itself on `/status`.

Written by `main`, read by the servicer and by the status page's thread.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class ServerPhase(StrEnum):
    """Loading, then serving, then stopping; a start that fails goes to stopping at once."""

    LOADING = "loading"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(slots=True)
class ServerStatus:
    """The phase, and facts that are added as they become known."""

    phase: ServerPhase = ServerPhase.LOADING
    facts: Mapping[str, Any] = field(default_factory=dict)

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the JSON of `/status`."""
        document = {"phase": self.phase, "rssBytes": resident_bytes(), **self.facts}
        return "application/json", orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def resident_bytes() -> int:
    """Return the memory that this process holds, 0 where the kernel does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
