"""Foreign text as text: what others wrote, in a form that a terminal only shows.

Labels, file names, servers' sentences and children's logs may hold anything. Whatever writes to a
stream that a person reads passes it through here; colour is added afterwards. Pure.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import orjson

# What a terminal obeys instead of showing: C0, DEL and C1. What shows a text in another order than
# it is written: embeddings, overrides and isolates. What cannot be encoded: lone surrogates.
# Line separators count as line ends to some terminals.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
TOLD_MOST = 4000
TOLD_OF = 1 << 20
_PASSWORD = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^/\s@]{1,2000}@(?=[^\s@])")
_SIGNED = re.compile(
    r"([?&](?:x-(?:amz|goog)-[a-z-]{1,40}|signature|sig|awsaccesskeyid|policy|key-pair-id|auth_key"
    r"|api_?key|key|(?:access_?)?token|password)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_LONG_NAME = re.compile(r"\S{201,}")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with everything that a terminal would obey written as an escape.

    `keep` names characters that stay: a sentence of several lines keeps its line ends.

    >>> printable("ro\x1b[31mbin\n"), printable("a\nb", keep="\n")
    ('ro\\x1b[31mbin\\n', 'a\nb')
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def printable_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return a value as JSON of one line that a terminal only shows.

    `default` gives what stands for a value of another type; without it that is a TypeError.
    """
    try:
        document = orjson.dumps(value, default=default, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        # orjson refuses lone surrogates, which is what a file name that is not UTF-8 holds.
        document = json.dumps(value, default=default, separators=(",", ":"))
    # JSON itself escapes C0 alone; the rest of it can only stand inside strings.
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def told(text: str, most: int = TOLD_MOST) -> str:
    """Return what may be told of a text that strangers had a hand in: no secrets, and no more.

    A password before a host and what signs an address are left out; a name longer than 200 signs
    is cut in its middle, a text longer than `most` at its end.

    >>> told("https://me:pw@host/x?X-Amz-Signature=abc&y=1 is not there")
    'https://host/x?X-Amz-Signature=...&y=1 is not there'
    """
    text = _PASSWORD.sub(r"\1", text[:TOLD_OF])
    text = _SIGNED.sub(r"\1...", text)
    text = _LONG_NAME.sub(lambda found: f"{found[0][:120]}...{found[0][-60:]}", text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _escaped(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
