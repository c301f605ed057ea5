"""What a bare word in YAML means: text, a number, true or false, or nothing.

Read as kubectl reads it, so that one manifest means one thing with and without a cluster:
YAML 1.1's yes and no are truth values, while 1:30 and 2024-01-31 stay text.
"""

import math
import re

Value = str | int | float | bool | None

_TAG = "tag:yaml.org,2002:"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_BASED = re.compile(r"[-+]?0(b[01_]+|o?[0-7_]+|x[0-9a-fA-F_]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS_MAX = 18


class ScalarError(ValueError):
    """The word cannot be taken; the message says why."""


def scalar_value(text: str, tag: str | None, *, plain: bool) -> Value:
    """Read one scalar; `plain` means that it stands without quotes.

    Raises:
        ScalarError: a number that is too large or not finite, or a tag that is not known.

    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ScalarError("half of a surrogate pair is not text")
    if tag is None:
        return _plain_value(text) if plain else text
    if tag in {"!", f"{_TAG}str"}:
        return text
    if tag not in {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}:
        raise ScalarError(f"the tag {_short(tag)} is not used in manifests: leave it out")
    return _plain_value(text)


def _plain_value(text: str) -> Value:
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a number that a manifest can hold")
    if _DECIMAL.fullmatch(text) or _BASED.fullmatch(text):
        return _whole_number(text)
    if _FLOAT.fullmatch(text):
        return _fraction(text)
    return text


def _whole_number(text: str) -> Value:
    digits = text.replace("_", "").lstrip("+-")
    if len(digits) > _DIGITS_MAX:
        raise ScalarError(f"{_short(text)} is too large a number")
    base = 10
    if len(digits) > 1 and digits[0] == "0":
        base = {"b": 2, "x": 16}.get(digits[1], 8)
        digits = digits.lstrip("0").lstrip("box") or "0"
    if not digits.isalnum():
        return text
    return int(digits, base) * (-1 if text[0] == "-" else 1)


def _fraction(text: str) -> Value:
    number = float(text.replace("_", ""))
    if not math.isfinite(number):
        raise ScalarError(f"{_short(text)} is too large a number")
    return number


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
