"""Turn pydantic's JSON schema into what the API server takes: a structural schema.

Pure. `$ref`s are inlined, null branches of optionals are dropped, keys constrained by patterns or
enums become plain `additionalProperties` with a CEL rule, defaults become the API server's, and
`@size` in a rule becomes what the schema says of the value's size: a limit on every single field
still lets their product be megabytes, and CEL has no word for the size of an object.
The parser reads the same schema for what a field allows.
"""

import re
from typing import Any, Final

from pydantic import BaseModel

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


_DROPPED = frozenset({"title", "uniqueItems"})


def structural_schema(model: type[BaseModel]) -> Schema:
    """Describe `model` without references, nulls, titles or free patterns."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _rewrite(schema, schema.get("$defs", {}))


def without_defaults(schema: Schema) -> Schema:
    """Drop defaults at every depth: status says only what is known."""
    kept = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in kept:
        kept["properties"] = {
            name: without_defaults(child) for name, child in kept["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = without_defaults(kept[key])
    return kept


def schema_at(schema: Schema, location: tuple[str | int, ...]) -> Schema | None:
    """Find what describes a place of a document; None where nothing does."""
    current: Schema | None = schema
    for part in location:
        if current is None:
            return None
        if isinstance(part, int):
            current = current.get("items")
        else:
            named: Schema | None = current.get("properties", {}).get(part)
            current = named or current.get("additionalProperties")
    return current


def _rewrite(node: Schema, definitions: Schema) -> Schema:
    node = _resolved(node, definitions)
    node = {key: value for key, value in node.items() if key not in _DROPPED and key[0] != "$"}
    _rewrite_map(node, definitions)
    if "properties" in node:
        node["properties"] = {
            name: _rewrite(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        node["items"] = _rewrite(node["items"], definitions)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    _rewrite_default(node)
    _rewrite_sizes(node)
    return node


def _resolved(node: Schema, definitions: Schema) -> Schema:
    """Inline a reference and the one branch of an optional; what stands beside them wins."""
    while True:
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            beside = {key: value for key, value in node.items() if key != "$ref"}
        elif "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
            branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
            if len(branches) != 1:
                raise ValueError(f"a structural schema has no unions: {node['anyOf']}")
            target = branches[0]
            beside = {key: value for key, value in node.items() if key != "anyOf"}
        else:
            return node
        node = {**target, **beside}


def _rewrite_map(node: Schema, definitions: Schema) -> None:
    """Say a mapping with constrained keys as the API server can: values by schema, keys by CEL."""
    keys = _resolved(node.pop("propertyNames", {}), definitions)
    values = node.pop("patternProperties", None)
    if values:
        (node["additionalProperties"],) = values.values()
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    if isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = _rewrite(node["additionalProperties"], definitions)
    if "enum" in keys:
        node["x-kubernetes-validations"] = [
            {
                "rule": f"self.all(key, key in {keys['enum']})",
                "message": f"its keys are {', '.join(keys['enum'])}",
            }
        ]
    elif "maxLength" in keys:
        most = keys["maxLength"]
        node["x-kubernetes-validations"] = [
            {
                "rule": f"self.all(key, size(key) <= {most})",
                "message": f"a key has at most {most} characters",
            }
        ]


def _rewrite_sizes(node: Schema) -> None:
    """Write out the size that a rule asks for; the rules themselves belong to the model."""
    rules = node.get("x-kubernetes-validations", [])
    if any(SIZE in rule["rule"] for rule in rules):
        size = size_in_cel(node)
        node["x-kubernetes-validations"] = [
            {**rule, "rule": rule["rule"].replace(SIZE, size)} for rule in rules
        ]


def _rewrite_default(node: Schema) -> None:
    """Keep a default that says something.

    An object's own default is left to its fields, unless it has rules: the API server tries those
    on the default as it stands.
    """
    if "default" not in node:
        return
    default = node["default"]
    if node.get("properties") is not None and default is not None:
        ruled = "x-kubernetes-validations" in node
        fields = node["properties"].items() if ruled else ()
        node["default"] = {name: field["default"] for name, field in fields if "default" in field}
    elif default is None or default in ("", [], {}):
        del node["default"]
