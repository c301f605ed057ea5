"""What the code calls things: one class for a name, small packages, plain sentences."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    path
    for root in ("services", "operator")
    for path in sorted((ROOT / root).rglob("*.py"))
    if "pb" not in path.relative_to(ROOT).parts
]
PACKAGES = sorted(path.parent for path in MODULES if path.name == "__init__.py")
ENTRIES_MAX = 20
TOP_ENTRIES_MAX = 18
TOPS = {"lumen_operator", "lumen_serving"}

UNIDIOMATIC = re.compile(
    r"(?<!here )\b(?:is|are) no (?:address|array|key|list|mapping|model|name)"
    r"|\b(?:is|are) no (?:picture|size|text|tower|folder)"
    r"|\bare no (?:answer|text)|(?<!here )\bis no [A-Z]"
)
"""A noun denied by `no`: people write `is not a list`."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sentences(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the texts that people may read: every literal that stands in an expression."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node


def test_a_class_name_is_defined_once():
    found = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(ROOT)))
    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert twice == {}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_small_and_says_what_it_is_for(package):
    entries = [each for each in package.iterdir() if each.name != "__pycache__"]
    most = TOP_ENTRIES_MAX if package.name in TOPS else ENTRIES_MAX
    assert len(entries) <= most
    assert ast.get_docstring(parsed(package / "__init__.py"))


def test_sentences_deny_a_noun_as_people_do():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for path in MODULES
        for node in sentences(parsed(path))
        if UNIDIOMATIC.search(node.value)
    ]
    assert found == []
