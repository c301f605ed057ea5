"""The maps of the code name what exists, and leave no package, layer or make target out."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPS = {name: (ROOT / name).read_text() for name in ("docs/architecture.md", "CONTRIBUTING.md")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
WHEEL = PROJECT["hatch"]["build"]["targets"]["wheel"]
PACKAGES = {Path(path).name: ROOT / path for path in WHEEL["packages"]}


def missing_modules(text: str) -> set[str]:
    """Return the dotted names of ours that no file or folder has."""
    found = set()
    for name in re.findall(r"\blumen_\w+(?:\.\w+)*", text):
        package, *rest = name.split(".")
        place = PACKAGES.get(package, ROOT / package).joinpath(*rest)
        if not (place.is_dir() or place.with_suffix(".py").is_file()):
            found.add(name)
    return found


def missing_paths(text: str) -> set[str]:
    """Return the paths in backticks that lead nowhere from the root."""
    words = re.findall(r"`([\w.-]+/[\w./-]*|[\w.-]+\.(?:md|toml))`", text)
    arguments = re.findall(r"\btests/[\w/]+", text)
    return {path for path in [*words, *arguments] if not (ROOT / path).exists()}


def test_what_is_missing_is_found():
    assert missing_modules("lumen_wire.tasks, lumen_wire.magic, lumen_magic") == {
        "lumen_wire.magic",
        "lumen_magic",
    }
    assert missing_paths("`tests/unit`, `docs/magic.md`, `MAGIC.md`, run tests/magic") == {
        "docs/magic.md",
        "MAGIC.md",
        "tests/magic",
    }


@pytest.mark.parametrize("name", MAPS)
def test_every_module_and_path_exists(name):
    assert missing_modules(MAPS[name]) == set()
    assert missing_paths(MAPS[name]) == set()


def test_every_package_is_described():
    rows = re.findall(r"^\| `(lumen_\w+)` \|", MAPS["docs/architecture.md"], re.MULTILINE)

    assert sorted(rows) == sorted(PACKAGES)


def test_the_layers_are_those_that_are_enforced():
    contract = PROJECT["importlinter"]["contracts"][0]

    assert "\n".join(["```", *contract["layers"], "```"]) in MAPS["docs/architecture.md"]


def test_every_make_target_is_listed_and_exists():
    makefile = (ROOT / "Makefile").read_text()
    listed = set(re.findall(r"`make ([a-z0-9-]+)`", MAPS["CONTRIBUTING.md"]))

    assert listed == set(re.findall(r"^([a-z0-9-]+):.*##", makefile, re.MULTILINE))
