"""Sentences for what pydantic finds: what is wrong, and what would be right.

Pure. What a field allows is read from the structural schema, which is also the CRD's.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lumen_manifest.schema.structural import Schema
from lumen_manifest.spec.field_types import PATTERNS
from lumen_process.printable import told

_SAYS = {pattern.regex: pattern.says for pattern in PATTERNS}
_SHOWN_MAX = 60


class ParsedError(NamedTuple):
    """One of pydantic's errors: its type, where, what stands there, and the type's details."""

    type: str
    location: tuple[str | int, ...]
    value: Any
    details: Mapping[str, Any]
    fallback: str


def sentence(finding: ParsedError, schema: Schema | None, parent: Schema | None) -> str:
    """Say what is wrong at a place that `schema` describes, inside what `parent` describes."""
    if finding.type == "missing":
        return f"is missing. {expectation(schema)}".rstrip()
    if finding.type == "extra_forbidden":
        return unknown_key(str(finding.location[-1]), (parent or {}).get("properties", {}))
    if finding.value is None:
        return f"is empty: remove the line, or give it a value. {expectation(schema)}".rstrip()
    wording = _WORDINGS.get(finding.type)
    if isinstance(wording, str):
        return wording.format(shown=shown(finding.value), **finding.details)
    return wording(finding, schema or {}) if wording else finding.fallback


def expectation(schema: Schema | None) -> str:
    """Say what a field takes, in half a sentence; empty when there is nothing to say."""
    if not schema:
        return ""
    if "enum" in schema:
        return f"Choose one of {', '.join(schema['enum'])}."
    if schema.get("properties"):
        return f"It is a mapping with {_listed(_required_first(schema))}."
    if schema.get("type") == "array":
        return 'It is a list: put "- " in front of each entry.'
    return str(schema.get("description", ""))


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Refuse a key, and name the closest one that exists."""
    options = list(known)
    return f"is not a field here.{closest(key, options)} ({_listed(options)})"


def closest(value: str, options: Iterable[str]) -> str:
    """Ask whether a similar option was meant; empty when none is similar."""
    by_lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[found[0]]}?" if found else ""


def shown(value: object) -> str:
    """Show a value as a person may find it in the file, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = told(str(value))
    text = text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
    return f'"{text}"' if isinstance(value, str) else text


def noun_of(location: tuple[str | int, ...]) -> str:
    """Name a field in words, with its article: labelFormat is "a label format"."""
    names = [part for part in location if isinstance(part, str)]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", names[-1] if names else "value").lower()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _choice(finding: ParsedError, schema: Schema) -> str:
    expected = re.findall(r"'([^']+)'", str(finding.details.get("expected", "")))  # of a key
    options = [str(option) for option in schema.get("enum", expected)]
    value = finding.value
    hint = closest(value, options) if isinstance(value, str) else ""
    return f"{shown(value)} is not {noun_of(finding.location)}.{hint} ({', '.join(options)})"


def _number(finding: ParsedError, schema: Schema) -> str:
    kind = "a whole number" if schema.get("type") == "integer" else "a number"
    value = finding.value
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", value):
        return f"{shown(value)} is text, {kind} is needed: write {value} without quotes"
    return f"{shown(value)} is not {kind}"


def _text(finding: ParsedError, _: Schema) -> str:
    if isinstance(finding.value, dict | list):
        return f"is {shown(finding.value)}, text is needed"
    if isinstance(finding.value, bool):
        return (
            f"a bare true, yes, on or y (false, no, off or n) means {shown(finding.value)}, "
            "text is needed: put it in quotes"
        )
    return f"{shown(finding.value)} is read as a number, text is needed: put it in quotes"


def _mapping(finding: ParsedError, schema: Schema) -> str:
    fields = schema.get("properties")
    inside = f" with {_listed(_required_first(schema))}" if fields else " of keys and values"
    return f"{shown(finding.value)} is not a mapping{inside}"


def pattern_sentence(value: Any, pattern: str) -> str:
    """Say what a field takes that only takes texts of this pattern."""
    says = _SAYS.get(pattern, f"it must match {pattern}")
    return f"{shown(value)} cannot be used: {says}"


def _pattern(finding: ParsedError, _: Schema) -> str:
    return pattern_sentence(finding.value, str(finding.details["pattern"]))


def _short_text(_: ParsedError, schema: Schema) -> str:
    return f"is empty: {_first_lower(expectation(schema))}".rstrip(": ")


_NOT_A_LIST = '{shown} is not a list: put "- " in front of each entry'
_WORDINGS: Mapping[str, str | Callable[[ParsedError, Schema], str]] = {
    "enum": _choice,
    "literal_error": _choice,
    "int_type": _number,
    "int_from_float": _number,
    "float_type": _number,
    "string_type": _text,
    "bool_type": "{shown} is neither true nor false: write one of the two",
    "tuple_type": _NOT_A_LIST,
    "list_type": _NOT_A_LIST,
    "dict_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "greater_than_equal": "{shown} is too small: at least {ge}",
    "less_than_equal": "{shown} is too large: at most {le}",
    "string_pattern_mismatch": _pattern,
    "string_too_long": "is too long: at most {max_length} characters",
    "string_too_short": _short_text,
    "too_long": "has too many entries: at most {max_length}",
    "too_short": "has too few entries: at least {min_length}",
}
"""By pydantic's type: a text with the details that it names, or a function."""


def _required_first(schema: Schema) -> list[str]:
    required: list[str] = schema.get("required", [])
    return [*required, *(name for name in schema.get("properties", {}) if name not in required)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
