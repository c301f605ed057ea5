"""The one door for manifests: text or an API object in, validated models out.

Every problem of a file is reported with its line and column. Nothing here asks a cluster: rules
that need one (is there such a pool?) are the operator's.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lumen_manifest.caller_names import clashes
from lumen_manifest.model_service import API_VERSION, LumenModelService
from lumen_manifest.names import GROUP
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.reading.by_field import plain_by_field, texts, unreadable
from lumen_manifest.reading.problems import ManifestError, Problem
from lumen_manifest.reading.regular_files import read_named
from lumen_manifest.reading.wording import ParsedError, closest, sentence, shown
from lumen_manifest.reading.yaml_tree import (
    BYTES_MAX,
    DEPTH_MAX,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    TreeReader,
    UnreadableError,
    path_text,
)
from lumen_manifest.schema.structural import Schema, schema_at, structural_schema

__all__ = [
    "ManifestError",
    "Problem",
    "parse_files",
    "parse_object",
    "parse_text",
    "read_mapping",
    "text_in",
    "text_of",
]

Resource = LumenModelService | LumenNodePool
Location = tuple[str | int, ...]
Place = Callable[[Location, str], tuple[int, int]]

PROBLEMS_MAX = 200
"""Of one document; a hostile one may have as many as it has keys."""
SHOWN_DEPTH = 6
"""Of a place that is nested too deeply, its first keys tell whose it is."""
KINDS: Mapping[str, type[Resource]] = {
    "LumenModelService": LumenModelService,
    "LumenNodePool": LumenNodePool,
}


def parse_files(paths: Sequence[Path]) -> list[Resource]:
    """Read several files as one set of manifests.

    Raises:
        ManifestError: with the problems of all files; also two services that want one name.

    """
    problems: list[Problem] = []
    found: list[_Found] = []
    for path in paths:
        try:
            found += _read(text_of(path), str(path))
        except ManifestError as error:
            problems += error.problems
    return _apart(found, problems)


def parse_text(text: str, filename: str = "manifest") -> list[Resource]:
    """Read the manifests of one YAML text, one or more documents.

    Raises:
        ManifestError: with everything that is wrong; nothing else is ever raised.

    """
    return _apart(_read(text, filename), [])


def parse_object(document: Mapping[str, Any]) -> Resource:
    """Read one object as the API server delivers it.

    Raises:
        ManifestError: its problems have paths, but neither file nor line.

    """
    model = KINDS.get(str(document.get("kind")))
    if model is None or document.get("apiVersion") != API_VERSION:
        kind = f"{document.get('apiVersion')} {document.get('kind')}"
        raise ManifestError((Problem("", 0, 0, "kind", f"{kind} is not Lumen's"),))
    deep = _too_deep(document)
    if deep is not None:
        said = f"nested deeper than {DEPTH_MAX} levels: no manifest needs that"
        raise ManifestError((Problem("", 0, 0, path_text(deep[:SHOWN_DEPTH]), said),))
    try:
        text = json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise ManifestError((Problem("", 0, 0, "", "the object is not JSON"),)) from error
    resource, problems = _validated(model, text, "", lambda _location, _kind: (0, 0))
    if resource is None:
        raise ManifestError(tuple(problems))
    return resource


def read_mapping(text: str, filename: str) -> dict[str, Any]:
    """Read a text of one YAML mapping that is not a manifest, within the same bounds.

    Every word is the text that stands there: what it means is for whoever knows its field.

    Raises:
        ManifestError: it is not YAML, or not a mapping.

    """
    roots, problems = _roots_of(text, filename)
    if not problems and (len(roots) != 1 or not isinstance(roots[0], MappingNode)):
        problems.append(
            Problem(filename, 0, 0, "", "holds no configuration: one mapping is needed")
        )
    if problems:
        raise ManifestError(tuple(problems))
    mapping: dict[str, Any] = texts(roots[0])
    return mapping


def _too_deep(document: Mapping[str, Any]) -> Location | None:
    """Find a place that is nested too deeply, without recursion; None where there is none."""
    waiting: list[tuple[Location, Any]] = [((), document)]
    while waiting:
        location, value = waiting.pop()
        if isinstance(value, Mapping):
            below: Iterable[tuple[Any, Any]] = value.items()
        elif isinstance(value, list):
            below = enumerate(value)
        else:
            continue
        if len(location) > DEPTH_MAX:
            return location
        nested = (each for each in below if isinstance(each[1], Mapping | list))
        waiting += [((*location, key), child) for key, child in nested]
    return None


def text_of(path: Path) -> str:
    """Read a file that a person wrote.

    Raises:
        ManifestError: it cannot be read, is too large, or is not UTF-8.

    """
    file = str(path)
    try:
        content = read_named(path, BYTES_MAX)
    except OSError as error:
        said = f"cannot be read: {error.strerror}"
        raise ManifestError((Problem(file, 0, 0, "", said),)) from error
    return text_in(content, file)


def text_in(content: bytes, file: str) -> str:
    """Decode what a person wrote, of which BYTES_MAX and one more are enough.

    Raises:
        ManifestError: it is too large, or not UTF-8; with the place.

    """
    try:
        return content[: BYTES_MAX + 1].decode("utf-8")
    except UnicodeDecodeError as error:
        if len(content) > BYTES_MAX:
            raise ManifestError((_too_large(file),)) from error
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        said = "is not UTF-8: save the file with that encoding"
        raise ManifestError((Problem(file, line, column, "", said),)) from error


def _too_large(file: str) -> Problem:
    return Problem(file, 0, 0, "", f"is larger than {BYTES_MAX >> 20} MiB: no manifest needs that")


@dataclass(frozen=True, slots=True)
class _Found:
    """A resource and where it stands, for complaints about several."""

    file: str
    root: Node
    resource: Resource

    def problem(self, location: Location, said: str) -> Problem:
        place = _place(self.root, location, "value")
        return Problem(self.file, *place, path_text(location), said)


def _read(text: str, file: str) -> list[_Found]:
    """Read one file."""
    roots, refused = _roots_of(text, file)
    problems: list[Problem] = []
    found: list[_Found] = []
    for root in roots:
        resource, wrong = _document(root, file)
        problems += wrong
        if resource is not None:
            found.append(_Found(file, root, resource))
    # What could not be read is no wrong value besides.
    places = {(problem.line, problem.column) for problem in refused}
    problems = [p for p in problems if (p.line, p.column) not in places] + refused
    if not roots and not problems:
        problems.append(Problem(file, 0, 0, "", "holds no manifest: it is empty"))
    if problems:
        raise ManifestError(tuple(sorted(problems, key=lambda p: (p.line, p.column))))
    return found


def _roots_of(text: str, file: str) -> tuple[list[Node], list[Problem]]:
    """Read the documents up to the first that is unreadable, and what is wrong with them as YAML.

    Raises:
        ManifestError: the text is too large.

    """
    if len(text) > BYTES_MAX:
        raise ManifestError((_too_large(file),))
    reader = TreeReader(file)
    roots: list[Node] = []
    try:
        roots.extend(reader.documents(text.removeprefix("\ufeff")))
    except UnreadableError as error:
        problem = Problem(file, error.line, error.column, "", str(error))
        at = {(each.line, each.column) for each in reader.problems}
        return roots, [*([] if (error.line, error.column) in at else [problem]), *reader.problems]
    return roots, reader.problems


def _document(root: Node, file: str) -> tuple[Resource | None, list[Problem]]:
    model, problem = _model_for(root, file)
    if model is None:
        return None, [problem] if problem else []
    schema = _schema_of(model)
    resource, problems = _validated(
        model,
        json.dumps(plain_by_field(root, schema)),
        file,
        lambda location, kind: _place(root, location, kind),
    )
    refused = [
        Problem(file, node.line, node.column, path_text(at), node.wrong)
        for node, at in islice(unreadable(root, schema), PROBLEMS_MAX)
    ]
    # What could not be read is no wrong value besides.
    places = {(problem.line, problem.column) for problem in refused}
    left = [p for p in problems if (p.line, p.column) not in places]
    return None if refused else resource, [*left, *refused]


def _model_for(root: Node, file: str) -> tuple[type[Resource] | None, Problem | None]:
    """Choose the model by apiVersion and kind, or say why there is none."""
    if not isinstance(root, MappingNode):
        said = (
            f"a manifest is a mapping with apiVersion, kind, metadata and spec, not {_what(root)}"
        )
        return None, Problem(file, root.line, root.column, "", said)
    version, kind = _scalar(root, "apiVersion"), _scalar(root, "kind")
    wrong = _wrong_type(version, kind)
    if wrong is not None or kind is None:
        key, said = wrong or ("kind", "is missing")
        return None, Problem(file, *_place(root, (key,), "value"), key, said)
    return KINDS[kind], None


def _wrong_type(version: str | None, kind: str | None) -> tuple[str, str] | None:
    """Say which of apiVersion and kind is wrong, and what would be right."""
    if version is None:
        return "apiVersion", f"is missing: write apiVersion: {API_VERSION}"
    if kind is None:
        return "kind", f"is missing: write {' or '.join(KINDS)}"
    ours = version.startswith(f"{GROUP}/") or closest(version, [API_VERSION])
    if not ours and kind not in KINDS:
        return (
            "kind",
            (
                f"{version} {kind} is not Lumen's. A file for Lumen holds {' and '.join(KINDS)}; "
                "keep other objects in files of their own and apply them with kubectl"
            ),
        )
    if version != API_VERSION:
        return "apiVersion", f"{shown(version)} is not known here: write {API_VERSION}"
    if kind not in KINDS:
        hint = closest(kind, KINDS)
        return "kind", f"{shown(kind)} is not a kind of Lumen.{hint} ({', '.join(KINDS)})"
    return None


def _validated(
    model: type[Resource], document: str, file: str, place: Place
) -> tuple[Resource | None, list[Problem]]:
    try:
        # As JSON, since only there "strict" means what it means to the API server.
        return model.model_validate_json(document, strict=True, by_alias=True, by_name=False), []
    except ValidationError as error:
        findings = [
            ParsedError(item["type"], item["loc"], item["input"], item.get("ctx", {}), item["msg"])
            for item in error.errors(include_url=False)[:PROBLEMS_MAX]
        ]
    schema = _schema_of(model)
    return None, [p for finding in findings for p in _problems(finding, schema, file, place)]


def _problems(finding: ParsedError, schema: Schema, file: str, place: Place) -> Iterable[Problem]:
    location = finding.location
    if finding.type == "rules_broken":
        for at, message in finding.details["problems"]:
            there = (*location, *at.split(".")) if at else location
            yield Problem(file, *place(there, "value"), path_text(there), message)
        return
    kind = "key" if finding.type == "extra_forbidden" else "value"
    if location and location[-1] == "[key]":
        location, kind = location[:-1], "key"
        finding = finding._replace(location=("key",))
    message = sentence(finding, schema_at(schema, location), schema_at(schema, location[:-1]))
    yield Problem(file, *place(location, kind), path_text(location), message)


@cache
def _schema_of(model: type[Resource]) -> Schema:
    return structural_schema(model)


def _place(root: Node, location: Location, kind: str) -> tuple[int, int]:
    """Find where a field stands; for one that is absent, where it would belong."""
    node, place = root, (root.line, root.column)
    for depth, part in enumerate(location):
        key: Node | None = None
        child: Node | None = None
        if isinstance(node, MappingNode) and isinstance(part, str):
            child, key = node.entries.get(part), node.keys.get(part)
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
            child = node.items[part]
        if child is None:
            return place
        last = depth == len(location) - 1
        at = key if key is not None and (kind == "key" or not last) else child
        node, place = child, (at.line, at.column)
    return place


def _scalar(root: MappingNode, key: str) -> str | None:
    node = root.entries.get(key)
    return str(node.value) if isinstance(node, ScalarNode) and node.value is not None else None


def _what(node: Node) -> str:
    return "a list" if isinstance(node, SequenceNode) else f"{shown(node.plain())}"


def _apart(found: Sequence[_Found], problems: list[Problem]) -> list[Resource]:
    """Return the resources; raises ManifestError, also where two of them want one name."""
    same = _same_names(found)
    problems = [*problems, *(same or _clashes(found))]
    if problems:
        raise ManifestError(tuple(problems))
    return [each.resource for each in found]


def _same_names(found: Iterable[_Found]) -> list[Problem]:
    """Two objects with one name would silently become one."""
    problems: list[Problem] = []
    seen: dict[tuple[str, ...], Problem] = {}
    for each in found:
        resource = each.resource
        place = each.problem(("metadata", "name"), "")
        key = resource.key if isinstance(resource, LumenModelService) else (resource.name,)
        first = seen.setdefault((resource.kind, *key), place)
        if first is not place:
            other = (
                f"line {first.line}" if first.file == place.file else f"{first.file}:{first.line}"
            )
            said = f'"{resource.name}" is taken by the {resource.kind} of {other}: choose another'
            problems.append(replace(place, message=said))
    return problems


def _clashes(found: Iterable[_Found]) -> list[Problem]:
    """Callers of one router mean one service by a name."""
    by_namespace: dict[str, list[tuple[_Found, LumenModelService]]] = {}
    for each in found:
        if isinstance(each.resource, LumenModelService):
            namespace = each.resource.metadata.namespace
            by_namespace.setdefault(namespace, []).append((each, each.resource))
    return [
        listed[at][0].problem(field, said)
        for listed in by_namespace.values()
        for at, field, said in clashes([service for _, service in listed])
    ]
