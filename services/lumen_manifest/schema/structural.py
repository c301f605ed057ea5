"""Turn pydantic's JSON schema into what the API server takes: a structural schema.

Pure. `$ref`s are inlined, null branches of optionals are dropped, keys constrained by patterns or
enums become plain `additionalProperties` with a CEL rule, defaults become the API server's, and
`@size` in a rule becomes what the schema says of the value's size.
The parser reads the same schema for what a field allows.
"""

from pydantic import BaseModel

from lumen_manifest.schema.json_sizes import SIZE, Schema, size_in_cel

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
