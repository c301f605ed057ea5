"""What `make` and the images install is what was tested, to the version and the hash."""

import importlib.util
import itertools
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()


def _load_lock():
    spec = importlib.util.spec_from_file_location("images_lock", ROOT / "images" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


LOCK = _load_lock()


def text_of(name):
    return LOCK.file_of(name).read_text()


def entries(name):
    """Each entry of a lock file: its requirement, and the lines with its hashes."""
    found = re.split(r"^(?=[a-zA-Z0-9])", text_of(name), flags=re.MULTILINE)[1:]
    return [(Requirement(each.partition("\\")[0]), each.partition("\\")[2]) for each in found]


def pins(name):
    """The locked versions by package; more than one where they depend on Python or platform."""
    found = {}
    for requirement, _ in entries(name):
        version = Version(str(requirement.specifier).removeprefix("=="))
        found.setdefault(canonicalize_name(requirement.name), set()).add(version)
    return found


def wanted(extra):
    """What an extra asks for, those that it includes among it."""
    found = [Requirement(each) for each in PROJECT["dependencies"]]
    waiting = [Requirement(each) for each in EXTRAS[extra]]
    while waiting:
        requirement = waiting.pop()
        if requirement.name == PROJECT["name"]:
            waiting += [Requirement(each) for e in requirement.extras for each in EXTRAS[e]]
        else:
            found.append(requirement)
    return found


def assert_satisfied(requirement, name):
    versions = pins(name).get(canonicalize_name(requirement.name), set())
    assert versions, f"{requirement.name} is not in locks/{name}.txt: run `make locks`"
    for version in versions:
        assert requirement.specifier.contains(version, prereleases=True), requirement


@pytest.mark.parametrize("name", sorted(LOCK.LOCKED))
def test_a_lock_file_pins_what_its_extra_needs_within_the_projects_ranges(name):
    lock = LOCK.LOCKED[name]

    for requirement in [*wanted(lock.extra), *map(Requirement, lock.add)]:
        if requirement.name in lock.without:
            assert requirement.name not in pins(name)
        else:
            assert_satisfied(requirement, name)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_what_is_tested_holds_every_extra(extra):
    dev = {requirement.name for requirement in wanted(LOCK.TESTED)}

    for requirement in wanted(extra):
        assert_satisfied(requirement, LOCK.TESTED if requirement.name in dev else "models")


@pytest.mark.parametrize("name", sorted(LOCK.TOOLS))
def test_what_installs_and_builds_is_locked_too(name):
    for requirement in map(Requirement, LOCK.TOOLS[name]):
        assert_satisfied(requirement, name)


@pytest.mark.parametrize("name", sorted(LOCK.APART))
def test_what_runs_apart_is_locked_too(name):
    for requirement in map(Requirement, LOCK.APART[name].requirements):
        assert_satisfied(requirement, name)


@pytest.mark.parametrize("name", sorted({*LOCK.NAMES} - {LOCK.TESTED, *LOCK.APART}))
def test_a_lock_file_has_the_versions_that_were_tested(name):
    like = LOCK.LOCKED[name].like if name in LOCK.LOCKED else LOCK.TESTED
    tested = pins(like) | pins(LOCK.TESTED)

    differing = {
        package: versions
        for package, versions in pins(name).items()
        if package in tested and not versions <= tested[package]
    }

    assert differing == {}, "run `make locks`"


@pytest.mark.parametrize("name", sorted(LOCK.NAMES))
def test_every_entry_of_a_lock_file_has_a_hash_and_none_says_where_it_is_from(name):
    assert entries(name)
    for requirement, rest in entries(name):
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", rest), requirement
    assert "://" not in text_of(name)
    assert "--index-url" not in text_of(name)


MACHINES = list(
    itertools.product(
        ["3.11", "3.12", "3.13", "3.14"],
        [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64")],
    )
)


@pytest.mark.parametrize(("python", "machine"), MACHINES)
@pytest.mark.parametrize("name", ["dev", "local"])
def test_on_every_machine_exactly_one_version_of_each_package_is_meant(name, python, machine):
    here = {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": machine[0],
        "platform_machine": machine[1],
        "extra": "",
    }
    meant = [
        canonicalize_name(requirement.name)
        for requirement, _ in entries(name)
        if requirement.marker is None or requirement.marker.evaluate(here)
    ]

    assert len(meant) == len(set(meant))
    for requirement in wanted(LOCK.LOCKED[name].extra):
        if requirement.marker is None or requirement.marker.evaluate(here):
            assert canonicalize_name(requirement.name) in meant


def test_the_demo_installs_no_tool_that_only_tests_need():
    of_tests = {canonicalize_name(Requirement(each).name) for each in EXTRAS["dev"]}

    assert of_tests & pins("local").keys() == set()


def test_whatever_make_installs_is_locked_but_for_the_newest_and_for_training():
    installing = re.findall(r"\$\((?:pip|uv)\) (?!freeze)(.*?)(?:;.*)?$", MAKEFILE, re.MULTILINE)
    locked = [each for each in installing if "--require-hashes" in each or "--no-deps" in each]

    assert len(locked) == 4
    assert sorted(set(installing) - set(locked)) == [
        "--upgrade uv",
        "install --quiet --upgrade --editable '.[dev]'",
        "install --requirement examples/demo/requirements-train.txt",
    ]


def test_the_demo_needs_no_port_and_no_folder_that_another_program_may_hold():
    (command,) = re.findall(r"lumen up -f examples/demo\.yaml (.*) -- ", MAKEFILE)

    assert command == '--port 0 --state-dir "$$folder"'
