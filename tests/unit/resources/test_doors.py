"""What refuses a model speaks of a manifest's fields; each door has its own words for them."""

import ast
import re
from pathlib import Path

import pytest

from lumen_cli.resources.export import ARGUMENTS
from lumen_cli.resources.selection import OPTIONS
from lumen_manifest.reading.doors import MANIFEST, Door, secret_or
from lumen_resources.errors import InvalidConfig, ResourceError, speaking

RESOURCES = Path(__file__).parents[3] / "services" / "lumen_resources"
FIELD = re.compile(r"\bspec(?:\.[A-Za-z]+)+")
# No option sets them, so nothing that is wrong with them is ever said to who came by options.
MANIFESTS_OWN = {
    "spec.model",
    "spec.model.expectEmbeddingSpace",
    "spec.model.preprocess",
    "spec.model.source.secretRef",
    "spec.model.towers",
}
FIXED_BY_EXPORT = {"spec.labelSets", "spec.model.precision", "spec.model.runtime"}


def said_fields() -> set[str]:
    found = set()
    for path in RESOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text())
        documented = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documented
            ):
                found |= set(FIELD.findall(node.value))
    return found


@pytest.mark.parametrize(
    ("door", "fixed"), [(OPTIONS, set()), (ARGUMENTS, FIXED_BY_EXPORT)], ids=["options", "export"]
)
def test_every_field_that_a_refusal_names_has_a_word_at_each_door(door, fixed):
    assert said_fields() - MANIFESTS_OWN - fixed - set(door.words) == set()
    assert "spec.model.source.uri" in said_fields()


def test_a_sentence_is_said_in_the_words_of_the_door():
    said = "spec.model.source.uri: 'x' names no folder. See spec.model.source.uri."

    assert MANIFEST.says(said) == said
    assert OPTIONS.says(said) == "--uri: 'x' names no folder. See --uri."


def test_a_field_below_a_known_one_keeps_its_own_name():
    door = Door({"spec.model.source": "source of birds"})

    assert door.says("Correct spec.model.source.uri.") == "Correct source of birds.uri."
    assert door.says("Correct spec.model.") == "Correct spec.model."


@pytest.mark.parametrize("keys", [(), ("token",), ("access-key-id", "secret-access-key")])
def test_a_secret_is_a_variable_where_there_are_no_secrets(keys):
    said = f"Put one into {secret_or('HF_TOKEN, or `hf auth login`', *keys)}."

    assert "spec.model.source.secretRef" in MANIFEST.says(said)
    assert OPTIONS.says(said) == "Put one into HF_TOKEN, or `hf auth login`."


def test_what_a_block_refuses_is_said_at_its_door():
    with pytest.raises(ResourceError) as caught, speaking(OPTIONS):
        raise InvalidConfig("spec.model.name: no.", remedy="Correct spec.model.name.")

    assert str(caught.value) == "NAME: no. Correct NAME."
