"""What the program's own sentences tell people to do can be done.

Every string of the sources is read, f-strings with a word where a value stands.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from every_command import commands, problem_with
from pages import headings

from lumen_cli.main import cli
from lumen_local.pod.machine import PACKAGES
from lumen_manifest.spec.enums import Runtime
from lumen_serving.backends.base import BACKENDS, load_backend
from lumen_serving.errors import BackendUnavailable

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("services", "operator")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent.name != "pb"
)
ANY = "WORD"
"""What a value of an f-string is replaced by."""


def strings_in(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = node.values
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else ANY for p in parts)
        elif isinstance(node, ast.Constant) and id(node) not in inside:
            yield from [node.value] if isinstance(node.value, str) else []


def help_of(words: tuple[str, ...]) -> str:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, [*words, "--help"]).output


HELPS = {f"lumen {' '.join(words)} --help": help_of(words) for words in commands(cli)}
STRINGS = sorted(
    {
        *HELPS.items(),
        *(
            (str(path.relative_to(ROOT)), said)
            for path in SOURCES
            for said in strings_in(path.read_text())
        ),
    }
)
EXACT = {said for _, said in STRINGS}


def found(pattern: str) -> list[tuple[str, str]]:
    """Return where, and what, of every string; the group of the pattern if it has one."""
    every = re.compile(pattern, re.MULTILINE)
    return sorted({(where, what) for where, said in STRINGS for what in every.findall(said)})


# In backticks; as the end of a sentence, behind a colon; on a line of its own in a help.
COMMANDS = sorted(
    {
        (where, f"resources {line}" if short else line)
        for pattern in (
            r"`(?:[A-Z_]+=\S+ )?lumen(-resources)? ([^`]+)`",
            r": lumen(-resources)? ((?:[^\s.]|\.(?=\S)| )+)",
            r"^ +(?:[A-Z_]+=\S+ )?lumen(-resources)? ((?:\\\n|.)+)$",
        )
        for where, (short, line) in found(pattern)
        if not line.startswith("{")  # filled later; the helps have it
    }
)
OTHERS_OPTIONS = {"--previous", "--replicas"}  # kubectl's
OPTIONS = sorted(
    {
        (where, option)
        for where, said in STRINGS
        if " " in said  # an option alone is declared, or another program's
        for option in re.findall(r"(?<![\w/=-])--[a-z][a-z-]*[a-z]", said)
    }
)


def options_of_ours() -> set[str]:
    known = {"--help"}
    for words in commands(cli):
        command: Any = cli
        for word in words:
            command = command.get_command(None, word)
        for one in command.params:
            known |= {*one.opts, *one.secondary_opts}
    return known


def test_advice_is_found():
    assert ("services/lumen_resources/fetch/verify.py", "resources download") in COMMANDS
    assert len(COMMANDS) > 50
    assert len(OPTIONS) > 30


@pytest.mark.parametrize(("where", "line"), COMMANDS)
def test_every_command_can_be_typed_as_it_is_said(where, line):
    assert problem_with(line) == ""


def test_every_option_exists():
    known = options_of_ours() | OTHERS_OPTIONS

    assert [(where, option) for where, option in OPTIONS if option not in known] == []


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_every_extra_that_is_to_be_installed_exists():
    named = found(r"lumen-serve\[([^\]]*)\]")
    dynamic = {extra for _, extra in PACKAGES.values()}

    assert len(named) > 5
    assert [(where, extra) for where, extra in named if extra not in {*EXTRAS, ANY}] == []
    assert dynamic | set(Runtime) <= set(EXTRAS)


def test_every_package_that_is_to_be_installed_comes_with_an_extra():
    packages = {re.split(r"[\[<>=!;, ]", line)[0] for lines in EXTRAS.values() for line in lines}
    named = found(r"pip install '?([\w.-]+)")

    unknown = [(where, name) for where, name in named if name not in {*packages, ANY}]
    assert unknown == []


def test_every_page_and_heading_exists():
    for where, (page, heading) in found(r"\b(docs/[\w/.-]+\.md)(?:#([\w-]+))?"):
        assert (ROOT / page).exists(), (where, page)
        assert not heading or heading in headings(ROOT / page), (where, page, heading)


@cache
def specs() -> list[dict[str, Any]]:
    texts = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    versions = [version for one in texts for version in one["spec"]["versions"]]
    return [one["schema"]["openAPIV3Schema"]["properties"]["spec"] for one in versions]


def is_a_field(path: str) -> bool:
    return any(_leads_somewhere(schema, path.split(".")[1:]) for schema in specs())


def _leads_somewhere(schema: dict[str, Any], names: list[str]) -> bool:
    for name in names:
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return True
        schema = schema.get("items", schema)
        below = schema.get("properties", {})
        if name not in below and "additionalProperties" not in schema:
            return False
        schema = below.get(name) or schema["additionalProperties"]
    return True


def test_every_field_exists_in_a_manifest():
    named = found(r"(?<![\w/])(spec(?:\.[a-z][A-Za-z]*(?:\[\])?)+)")
    kubernetes = {"spec.nodeName"}  # of a pod, by the downward API

    assert len(named) > 50
    unknown = [
        (where, path)
        for where, path in named
        if path not in kubernetes and not is_a_field(path.replace("[]", ""))
    ]
    assert unknown == []


def test_every_value_of_the_chart_exists():
    values = yaml.safe_load((ROOT / "charts/lumen/values.yaml").read_text())
    sections = "|".join(name for name, below in values.items() if isinstance(below, dict) and below)
    named = found(rf"(?<![\w./-])((?:{sections})(?:\.[a-z]\w*)+)")
    named += found(r"--set[= ]'?([\w.]+)=")

    assert ("operator/lumen_operator/status/external.py", "external.allowedNetworks") in named
    for where, path in named:
        if path.endswith(".termination"):  # a file of the router's process
            continue
        at: Any = values
        for name in path.split("."):
            assert name in at, (where, path)
            at = at[name]


def test_every_variable_that_a_sentence_names_is_one_that_is_read():
    # Names of variables are strings of their own; the older ones have the family before them.
    prefixed = {f"{family}_{name}" for family in ("CLIP", "BIOCLIP") for name in _tails()}

    named = found(r"(?<![\w.])((?:LUMEN|CLIP|BIOCLIP|ADVERTISE)_[A-Z0-9_]*[A-Z0-9])\b(?![-.])")
    unknown = [(w, name) for w, name in named if name not in EXACT and name not in prefixed]

    assert len(named) > 50
    assert unknown == []


def _tails() -> set[str]:
    older = [said for where, said in STRINGS if "/legacy/" in where]
    made = {said.removeprefix(ANY) for said in older if said.startswith(ANY)}
    announced = {f"MDNS_{said}" for said in older if re.fullmatch("[A-Z]+", said)}
    return made | announced


def test_a_backend_for_tests_is_never_offered():
    """The server without a model is chosen by those who know of it, and by nobody else."""
    with pytest.raises(BackendUnavailable) as refused:
        load_backend("tensorrt", None, None)

    assert "fake" in BACKENDS
    assert "fake" not in f"{refused.value} {refused.value.remedy}"
    assert all(f" {runtime}" in refused.value.remedy for runtime in Runtime)
    assert [where for where, said in HELPS.items() if re.search(r"\bfake\b", said)] == []
