"""What is computed of a model once, and when it is computed again."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.render.config_map import model_digest, pins_name_of
from lumen_manifest.render.controller_revision import revision_name
from lumen_manifest.render.once import once


def service(name: str, model: str) -> LumenModelService:
    spec = {"family": "clip", "model": {"name": model, "runtime": "onnx"}, "pool": "cpu"}
    return LumenModelService.model_validate({"metadata": {"name": name}, "spec": spec})


names = st.sampled_from(["a", "b"])


@pytest.mark.parametrize("function", [revision_name, pins_name_of, model_digest])
@given(st.lists(st.tuples(names, names, st.booleans()), max_size=20))
def test_an_answer_that_is_remembered_is_the_computed_one(function, asked):
    kept = []
    for name, model, stays in asked:
        one = service(name, model)
        kept += [one] if stays else []
        for each in (one, *kept):
            assert function(each) == function.__wrapped__(each)


def test_a_model_is_asked_once():
    asked = []

    @once
    def name_of(model: LumenModelService) -> str:
        asked.append(model.name)
        return model.name

    one, other = service("a", "m"), service("b", "m")
    found = [name_of(each) for each in (one, one, other, one)]

    assert found == ["a", "a", "b", "a"]
    assert asked == ["a", "b"]


def test_a_changed_copy_is_asked_anew():
    one = service("a", "m")
    assert revision_name(one).startswith("a-")
    renamed = one.metadata.model_copy(update={"name": "b"})

    assert revision_name(one.model_copy(update={"metadata": renamed})).startswith("b-")


def test_a_model_that_was_asked_is_not_kept():
    one = service("a", "m")
    revision_name(one)
    gone = weakref.ref(one)
    del one
    gc.collect()

    assert gone() is None
