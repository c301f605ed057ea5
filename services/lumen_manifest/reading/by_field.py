"""A bare word means what its field takes: `12e4567`, `no` and `1_000` are texts in a text field.

YAML's own guess counts elsewhere, so that a manifest means the same with and without a cluster.
A null in a field that may be absent stays one, since the API server reads it so. Pure.
"""

from collections.abc import Iterator
from typing import Any

from lumen_manifest.reading.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from lumen_manifest.schema.structural import Schema

Wrong = tuple[ScalarNode, tuple[str | int, ...]]


def plain_by_field(node: Node, schema: Schema | None, *, required: bool = False) -> Any:
    """Give a node as JSON has it, with the texts that the schema of its field asks for."""
    if isinstance(node, MappingNode):
        needed = (schema or {}).get("required", ())
        return {
            key: plain_by_field(child, _below(schema, key), required=key in needed)
            for key, child in node.entries.items()
        }
    if isinstance(node, SequenceNode):
        items = (schema or {}).get("items")
        return [plain_by_field(item, items, required=True) for item in node.items]
    if isinstance(node, ScalarNode) and _is_text(schema):
        return node.as_text(null_is_text=required)
    return node.plain()


def unreadable(
    node: Node, schema: Schema | None, at: tuple[str | int, ...] = ()
) -> Iterator[Wrong]:
    """Yield the words that no value can be made of, with their places in the document."""
    if isinstance(node, MappingNode):
        for key, child in node.entries.items():
            yield from unreadable(child, _below(schema, key), (*at, key))
    elif isinstance(node, SequenceNode):
        for number, item in enumerate(node.items):
            yield from unreadable(item, (schema or {}).get("items"), (*at, number))
    elif isinstance(node, ScalarNode) and node.wrong and not _is_text(schema):
        yield node, at


def texts(node: Node) -> Any:
    """Give a node with every word as the text that stands there, and nulls as such."""
    if isinstance(node, MappingNode):
        return {key: texts(child) for key, child in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [texts(item) for item in node.items]
    return node.as_text(null_is_text=False) if isinstance(node, ScalarNode) else None


def _below(schema: Schema | None, key: str) -> Schema | None:
    named: Schema | None = (schema or {}).get("properties", {}).get(key)
    return named or (schema or {}).get("additionalProperties")


def _is_text(schema: Schema | None) -> bool:
    return (schema or {}).get("type") == "string"
