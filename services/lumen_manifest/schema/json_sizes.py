"""How large a value is as JSON: at most, by its schema; and as it stands, by a CEL expression.

Pure. `structural` writes the expression wherever a rule says `@size`: a limit on every single field
still lets their product be megabytes, and CEL has no word for the size of an object.
"""

import re
from typing import Any, Final

Schema = dict[str, Any]

SIZE: Final = "@size"
"""In a rule: the bytes of the value as JSON, never fewer than it has."""
SMALL_BYTES: Final = 64
"""A value that is never larger counts as large as it may be."""

_NUMBER_BYTES = 25
_PER_CHARACTER_BYTES = 4
_QUOTES_BYTES = 2
_KEY_RULE = re.compile(r"size\(key\) <= ([0-9]+)")


class UnboundedError(ValueError):
    """A schema lets a value be as large as it likes; the message says where."""


def largest_bytes(schema: Schema, at: str = "self") -> int:
    """Return how large a value of the schema may be as JSON, in UTF-8.

    Raises:
        UnboundedError: it has no bound.

    """
    kind = schema.get("type")
    if "enum" in schema:
        return max(len(str(each)) for each in schema["enum"]) + _QUOTES_BYTES
    if kind in {"integer", "number", "boolean"}:
        return _NUMBER_BYTES
    if kind == "array":
        inner = largest_bytes(schema["items"], f"{at}[]")
        return _bound(schema, "maxItems", at) * (inner + 1) + _QUOTES_BYTES
    if isinstance(schema.get("additionalProperties"), dict):
        inner = largest_bytes(schema["additionalProperties"], f"{at}.*")
        entry = longest_key(schema, at) * _PER_CHARACTER_BYTES + 4 + inner
        return _bound(schema, "maxProperties", at) * entry + _QUOTES_BYTES
    if "properties" in schema:
        fields = schema["properties"].items()
        whole = sum(len(name) + 4 + largest_bytes(each, f"{at}.{name}") for name, each in fields)
        return whole + _QUOTES_BYTES
    return _largest_text_bytes(schema, at)


def _largest_text_bytes(schema: Schema, at: str) -> int:
    if schema.get("x-kubernetes-int-or-string"):  # a quantity: digits and letters
        return _bound(schema, "maxLength", at) + _QUOTES_BYTES
    if schema.get("type") == "string":
        return _bound(schema, "maxLength", at) * _PER_CHARACTER_BYTES + _QUOTES_BYTES
    raise UnboundedError(f"{at} may hold anything")


def longest_key(schema: Schema, at: str) -> int:
    """Return how many characters a key of a map has at most; raises UnboundedError."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if found := _KEY_RULE.search(rule["rule"]):
            return int(found[1])
        if keys := re.findall(r"'([^']+)'", rule["rule"]):
            return max(map(len, keys))
    raise UnboundedError(f"{at} has keys of any length")


def size_in_cel(schema: Schema, at: str = "self", depth: int = 0) -> str:
    """Write an expression for the bytes of the value at a place; what is small counts in full."""
    most = largest_bytes(schema, at)
    if most <= SMALL_BYTES:
        return str(most)
    kind, each = schema.get("type"), f"v{depth}"
    if kind == "string":
        return f"size(bytes({at})) + {_QUOTES_BYTES}"
    if kind == "array":
        inner = size_in_cel(schema["items"], each, depth + 1)
        return _summed(at, each, f"{inner} + 1", counted=inner.isdigit())
    if "additionalProperties" in schema:
        inner = size_in_cel(schema["additionalProperties"], f"{at}[{each}]", depth + 1)
        return _summed(at, each, f"size({each}) + 4 + {inner}", counted=False)
    return _of_fields(schema, at, depth)


def _of_fields(schema: Schema, at: str, depth: int) -> str:
    small, parts = _QUOTES_BYTES, list[str]()
    required = schema.get("required", ())
    for name, child in schema["properties"].items():
        small += len(name) + 4
        inner = size_in_cel(child, f"{at}.{name}", depth)
        if inner.isdigit():
            small += int(inner)
        else:
            parts.append(inner if name in required else f"(has({at}.{name}) ? {inner} : 0)")
    return f"[{', '.join([str(small), *parts])}].sum()"


def _summed(at: str, each: str, inner: str, *, counted: bool) -> str:
    if counted:
        return f"size({at}) * ({inner}) + {_QUOTES_BYTES}"
    return f"{at}.map({each}, {inner}).sum() + {_QUOTES_BYTES}"


def _bound(schema: Schema, name: str, at: str) -> int:
    if name not in schema:
        raise UnboundedError(f"{at} has no {name}")
    return int(schema[name])
