"""What the code calls things: one class for a name, small packages, plain sentences."""

import ast
import re
from collections import defaultdict
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
    r"(?<!here )\b(?:is|are|was|were) no "
    r"(?!longer|more|other|way|need|room|news|such|further|quicker|part|fault|loss|reason|wrong|word)"
)
"""A noun denied by `no`: people write `is not a list`."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


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


def test_texts_deny_a_noun_as_people_do():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNIDIOMATIC.search(line)
    ]
    assert found == []
