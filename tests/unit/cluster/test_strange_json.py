"""JSON of the API server and the objects in it: nothing that one of them is hides the others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_cluster.json_bodies import DEPTH_MAX, read_json
from lumen_cluster.store import KEPT_MAX_BYTES, left_out, reason_to_leave_out, why_left_out

any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def deep(depth, kind="{"):
    opening, closing = ('{"a":', "}") if kind == "{" else ("[", "]")
    return f"{opening * depth}1{closing * depth}"


def depth_of(value):
    depth = 0
    while isinstance(value, dict | list) and value:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        depth += 1
    return depth


@given(any_json)
def test_json_is_read_as_it_stands(value):
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("kind", ["{", "["])
@pytest.mark.parametrize("depth", [250, 1_000, 2_000, 100_000])
def test_what_is_nested_too_deeply_is_cut_and_its_neighbours_are_whole(depth, kind):
    neighbour = '{"name": "neighbour", "said": "brackets }]{[ and \\"quotes\\" \\\\"}'

    before, odd, after = read_json(f"[{neighbour},{deep(depth, kind)},{neighbour}]".encode())

    assert before == after == json.loads(neighbour)
    assert DEPTH_MAX - 2 <= depth_of(odd) <= DEPTH_MAX


@given(any_json)
def test_the_neighbours_of_a_deep_value_are_read_as_they_stand(value):
    text = f'{{"odd": {deep(300)}, "neighbour": {json.dumps(value)}}}'

    assert read_json(text.encode())["neighbour"] == value


@pytest.mark.parametrize("text", ["", "{", '{"a"', "[1,]", '"', "\x00", "[" * 5_000, "]" * 5_000])
def test_what_is_no_json_is_said_to_be_none(text):
    with pytest.raises(ValueError, match="line 1"):
        read_json(text.encode())


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"notes": "x" * KEPT_MAX_BYTES}, "larger than 256 KiB"),
        ({"replicas": 10**30}, "too large a number"),
        (read_json(deep(199).encode()) | {"b": json.loads(deep(260))}, "nested too deeply"),
        ({"notes": "\ud800"}, "nested too deeply, or is too large"),
    ],
)
def test_an_object_that_cannot_be_kept_says_why(spec, why):
    assert why in reason_to_leave_out({"metadata": {"name": "odd"}, "spec": spec})


def test_of_an_object_that_is_left_out_whose_it_is_remains():
    raw = {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "metadata": {
            "name": "odd",
            "namespace": "lab",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {f"l{number}": "x" for number in range(10_000)},
            "annotations": {"a": "x" * 100_000},
        },
        "spec": {"notes": "x" * 300_000},
    }

    kept = left_out(raw, "it is large")

    assert reason_to_leave_out(kept) == ""
    assert why_left_out(kept) == "it is large"
    assert (kept["kind"], kept["metadata"]["uid"]) == ("LumenModelService", "u")
    assert "spec" not in kept
    assert "annotations" not in kept["metadata"]
    assert len(json.dumps(kept)) < 2_000


@pytest.mark.parametrize("raw", [{}, {"metadata": None}, {"metadata": {"labels": [7]}}])
def test_of_an_object_without_a_name_nothing_remains(raw):
    assert why_left_out(left_out(raw, "odd")) == "odd"
