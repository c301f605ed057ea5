"""YAML as a tree whose every node knows its line and column.

Built from the parser's events instead of PyYAML's composer: without recursion, so that depth,
nodes and aliases are bounded while reading, and with all problems of a file collected.
A bare word's value is what it is to kubectl: YAML 1.1's yes and no are truth values, while 1:30 and
2024-01-31 stay text. Its text stays beside it, for fields that take texts (`by_field`).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from lumen_manifest.reading.problems import Problem

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
_SCALAR_TAGS = frozenset(
    {"!", *(f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null"))}
)


class ScalarError(ValueError):
    """The word cannot be taken; the message says why."""


def scalar_value(text: str, tag: str | None, *, plain: bool) -> Value:
    """Read one scalar; `plain` means that it stands without quotes.

    Raises:
        ScalarError: a number that is too large or not finite.

    """
    if tag is None:
        return _plain_value(text) if plain else text
    if tag in {"!", f"{_TAG}str"}:
        return text
    return _plain_value(text)


def _no_text(text: str, tag: str | None) -> str:
    """Say why a scalar is neither a text nor a value; "" for one that may be."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "half of a surrogate pair is not text"
    if tag is not None and tag not in _SCALAR_TAGS:
        return f"the tag {_short(tag)} is not used in manifests: leave it out"
    return ""


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


BYTES_MAX = 1 << 20
NODES_MAX = 50_000
DEPTH_MAX = 40

_TOO_MANY = f"more than {NODES_MAX} values, aliases expanded: split the file"
_TOO_DEEP = f"nested deeper than {DEPTH_MAX} levels"
_COLLECTION_TAGS = frozenset({"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
# Brackets, and what hides them: quoted text and comments.
_BRACKET = re.compile(r"""[][{}]|"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|(?<!\S)#[^\n]*""", re.DOTALL)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is many times faster


@dataclass(slots=True)
class Node:
    """A value with its place; `size` and `height` count what is below it, aliases expanded."""

    line: int
    column: int
    size: int = 1
    height: int = 0

    def plain(self) -> Any:
        """Give the value as JSON has it."""
        raise NotImplementedError


@dataclass(slots=True)
class ScalarNode(Node):
    """Text, a number, true or false, or nothing; `text` is how the file says it.

    `wrong` says why a bare word has no value, which does not matter to a field of text.
    """

    value: Value = None
    text: str = ""
    quoted: bool = False
    wrong: str = ""

    def as_text(self, *, null_is_text: bool) -> str | None:
        """Give the text that stands there; nothing where there is none, or where null means so."""
        if self.quoted or self.wrong or self.value is not None:
            return self.text
        return self.text if self.text and null_is_text else None

    def plain(self) -> Any:
        """Give the value."""
        return self.value


@dataclass(slots=True)
class SequenceNode(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)

    def plain(self) -> Any:
        """Give a list of plain values."""
        return [item.plain() for item in self.items]


@dataclass(slots=True)
class MappingNode(Node):
    """Keys with values; `keys` holds the places of the keys."""

    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Node] = field(default_factory=dict)

    def plain(self) -> Any:
        """Give a dict of plain values."""
        return {key: node.plain() for key, node in self.entries.items()}


class UnreadableError(Exception):
    """The text is not YAML, or beyond a bound; nothing after this place can be read."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(slots=True)
class _Open:
    """A list or mapping that is still open, and the key that waits for its value."""

    node: SequenceNode | MappingNode
    anchor: str | None
    key: ScalarNode | None = None
    merged: list[Node] = field(default_factory=list)


class TreeReader:
    """Reads one file; `problems` holds what is wrong with documents that could still be read."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._frames: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._root: Node | None = None

    def documents(self, text: str) -> Iterator[Node]:
        """Yield each document's root; documents without content are left out.

        Raises:
            UnreadableError: the text is not YAML, or beyond a bound.

        """
        _refuse_bad_characters(text)
        event: yaml.Event | None = None
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
                if isinstance(event, yaml.DocumentEndEvent):
                    root, self._root, self._anchors = self._root, None, {}
                    if root is not None and not is_empty(root):
                        yield root
        except yaml.MarkedYAMLError as error:
            # A scanner looks ahead of its events, and may meet a bound of its own before ours.
            start = event.end_mark.index if event is not None and event.end_mark else 0
            deep = _too_deep(error, text, start, DEPTH_MAX - len(self._frames))
            raise deep or _syntax_error(error, text) from error

    def _take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event, *place), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._alias(event.anchor or "", *place), None)
        elif isinstance(event, yaml.CollectionStartEvent):
            kind = MappingNode if isinstance(event, yaml.MappingStartEvent) else SequenceNode
            self._open(kind(*place), event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()

    def _scalar(self, event: yaml.ScalarEvent, line: int, column: int) -> ScalarNode:
        quoted = bool(event.style)
        node = ScalarNode(line, column, text=event.value, quoted=quoted)
        if said := _no_text(event.value, event.tag):
            self._complain(line, column, self._path(), said)
            return node
        try:
            node.value = scalar_value(event.value, event.tag, plain=not quoted)
        except ScalarError as error:
            node.wrong = str(error)
        return node

    def _alias(self, anchor: str, line: int, column: int) -> Node:
        if anchor not in self._anchors:
            raise UnreadableError(
                line, column, f"*{anchor}: no complete anchor &{anchor} stands before it"
            )
        return self._anchors[anchor]

    def _open(self, node: SequenceNode | MappingNode, event: yaml.CollectionStartEvent) -> None:
        if len(self._frames) >= DEPTH_MAX:
            raise UnreadableError(node.line, node.column, _TOO_DEEP)
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            self._complain(
                node.line, node.column, self._path(), "tags are not used in manifests: leave it out"
            )
        self._frames.append(_Open(node, event.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        if isinstance(frame.node, MappingNode):
            for merged in frame.merged:
                self._merge(frame.node, merged)
        self._add(frame.node, frame.anchor)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._frames:
            self._root = node
            return
        frame = self._frames[-1]
        frame.node.size += node.size
        frame.node.height = max(frame.node.height, node.height + 1)
        if frame.node.size > NODES_MAX:
            raise UnreadableError(node.line, node.column, _TOO_MANY)
        if frame.node.height + len(self._frames) > DEPTH_MAX:
            raise UnreadableError(node.line, node.column, _TOO_DEEP)
        if isinstance(frame.node, SequenceNode):
            frame.node.items.append(node)
        elif frame.key is None:
            frame.key = _key(node)
        else:
            self._enter(frame, frame.node, node)

    def _enter(self, frame: _Open, mapping: MappingNode, node: Node) -> None:
        key, path = frame.key, self._path()
        frame.key = None
        if key is None:
            return
        if key.text == "<<" and not key.quoted:
            frame.merged += node.items if isinstance(node, SequenceNode) else [node]
        elif key.text in mapping.entries:
            first = mapping.keys[key.text].line
            self._complain(
                key.line, key.column, path, f"stands here twice, first in line {first}: keep one"
            )
        else:
            mapping.entries[key.text] = node
            mapping.keys[key.text] = key

    def _merge(self, mapping: MappingNode, merged: Node) -> None:
        if not isinstance(merged, MappingNode):
            self._complain(merged.line, merged.column, self._path(), "<< takes a mapping")
            return
        for key, node in merged.entries.items():
            if key not in mapping.entries:
                mapping.entries[key] = node
                mapping.keys[key] = merged.keys[key]

    def _path(self) -> str:
        parts: list[str | int] = []
        for frame in self._frames:
            if isinstance(frame.node, SequenceNode):
                parts.append(len(frame.node.items))
            elif frame.key is not None:
                parts.append(frame.key.text)
        return path_text(tuple(parts))

    def _complain(self, line: int, column: int, path: str, message: str) -> None:
        self.problems.append(Problem(self._file, line, column, path, message))


def is_empty(node: Node) -> bool:
    """Say whether a document or value holds nothing."""
    return isinstance(node, ScalarNode) and node.value is None and not node.text


def path_text(location: tuple[str | int, ...]) -> str:
    """Write a place in a document: spec.labelSets[0].name, spec.resources.limits["a.b/c"]."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and part.replace("_", "").replace("-", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f'["{part[:60]}"]'
    return text


def _key(node: Node) -> ScalarNode:
    if not isinstance(node, ScalarNode):
        raise UnreadableError(node.line, node.column, "a key must be text, not a list or mapping")
    return node


def _refuse_bad_characters(text: str) -> None:
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        raise UnreadableError(
            line, column, f"the character U+{ord(bad.group()):04X} is not allowed: remove it"
        )


def _too_deep(
    error: yaml.MarkedYAMLError, text: str, start: int, levels: int
) -> UnreadableError | None:
    """Say where the brackets between `start` and the error open more than so many levels."""
    end = error.problem_mark.index if error.problem_mark else len(text)
    for found in _BRACKET.finditer(text, start, end):
        levels -= {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if levels < 0:
            line = text.count("\n", 0, found.start()) + 1
            column = found.start() - text.rfind("\n", 0, found.start())
            return UnreadableError(line, column, _TOO_DEEP)
    return None


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> UnreadableError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    written = lines[line] if line < len(lines) else ""
    indent = written[: len(written) - len(written.lstrip())]
    if "\t" in indent:
        return UnreadableError(
            line + 1, indent.index("\t") + 1, "a tab stands in the indentation: use spaces"
        )
    said = "; ".join(part for part in (error.context, error.problem) if part)
    return UnreadableError(line + 1, column + 1, f"not YAML: {said}")
