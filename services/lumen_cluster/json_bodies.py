"""The API server's JSON, read whatever stands in it: no depth of one object hides another.

Every reader of JSON refuses a text as a whole when one value in it is nested too deeply, and what
it does accept may still be too deep for whoever walks it by recursion. What lies deeper than any
object of use is cut out here, so that its owner's object is wrong and its neighbours are as ever.
"""

import re
from typing import Any, Final

from pydantic_core import from_json

DEPTH_MAX: Final = 64
"""Of what is kept of a text that is nested too deeply; one that can be read whole stays whole."""

# One token at a time and without going back: a text of brackets alone takes no longer than another.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_OPENING = frozenset(b"[{")
_CLOSING = frozenset(b"]}")


def read_json(body: bytes) -> Any:
    """Return the value of a text; nested no deeper than 200 levels, what is deeper is null.

    Raises:
        ValueError: it is not JSON.

    """
    try:
        return from_json(body, cache_strings="keys")
    except ValueError:
        return from_json(_cut(body), cache_strings="keys")


def _cut(body: bytes) -> bytes:
    """Write null for whatever lies deeper than `DEPTH_MAX`."""
    parts: list[bytes] = []
    depth, copied = 0, 0
    for token in _TOKENS.finditer(body):
        first = body[token.start()]
        if first in _OPENING:
            depth += 1
            if depth == DEPTH_MAX + 1:
                parts += [body[copied : token.start()], b"null"]
        elif first in _CLOSING:
            depth -= 1
            if depth == DEPTH_MAX:
                copied = token.end()
    parts.append(body[copied:])
    return b"".join(parts)
