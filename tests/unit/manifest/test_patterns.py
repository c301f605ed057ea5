"""No regular expression is shown to anybody: each has a sentence beside it."""

import importlib
import pkgutil
from collections.abc import Iterator

import pydantic
import pytest
from pydantic import BaseModel

import lumen_manifest
import lumen_resources
from lumen_manifest.reading.problems import said_of
from lumen_manifest.reading.wording import pattern_sentence


def models() -> list[type[BaseModel]]:
    """Every model that reads something from outside."""
    for package in (lumen_manifest, lumen_resources):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    waiting, seen = [BaseModel], set()
    while waiting:
        below = waiting.pop().__subclasses__()
        seen |= set(below)
        waiting += below
    return sorted((m for m in seen if m.__module__.startswith("lumen_")), key=lambda m: m.__name__)


def patterns(schema: object) -> Iterator[str]:
    """Every pattern of a JSON schema, of values and of keys."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        yield from schema.get("patternProperties", {})
        for child in schema.values():
            yield from patterns(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from patterns(child)


FOUND = sorted({p for model in models() for p in patterns(model.model_json_schema())})


def test_patterns_are_found():
    assert len(FOUND) > 15
    assert r"^\d+\.\d+\.\d+$" in FOUND


@pytest.mark.parametrize("pattern", FOUND)
def test_every_pattern_is_said_in_words(pattern):
    said = pattern_sentence("x", pattern)

    assert "it must match" not in said
    assert pattern not in said


def test_a_model_info_says_what_a_version_looks_like():
    class Versioned(BaseModel):
        version: str = pydantic.Field(pattern=r"^\d+\.\d+\.\d+$")

    with pytest.raises(pydantic.ValidationError) as refused:
        Versioned(version="v1")

    (finding,) = refused.value.errors()
    assert said_of(finding) == (
        '"v1" cannot be used: write three numbers with dots between, such as 1.0.0'
    )
