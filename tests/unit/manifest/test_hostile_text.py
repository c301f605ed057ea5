"""Whatever is fed to the parser, it answers with models or with a ManifestError."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_manifest.reading import yaml_tree
from lumen_manifest.reading.parse import ManifestError, parse_files, parse_text, read_mapping
from lumen_manifest.reading.yaml_tree import BYTES_MAX, DEPTH_MAX, NODES_MAX

GOOD = """\
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {name: clip}
spec:
  family: clip
  model: {name: MobileCLIP2-S2, runtime: onnx, source: {uri: "hf://a/b"}}
  labelSets: [{name: a, include: [class=Aves]}]
  autoscaling: {minReplicas: 1, maxReplicas: 2, metrics: [{type: inflight, target: 8}]}
  scenes: {preset: oct2025, threshold: 0.5}
  resources: {limits: {cpu: 2}}
  pool: cpu
"""
PIECES = "[]{}-:,&*!|>\"'\\ \n\tab1~<%@?#."


def refused(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        parse_text(text, "f")
    return str(caught.value)


def answers(text: str) -> None:
    problems = None
    try:
        parse_text(text, "f")
    except ManifestError as error:
        problems = error.problems
    assert problems != ()
    assert all(problem.line >= 0 and problem.message for problem in problems or ())


@pytest.mark.parametrize("alphabet", [st.characters(codec=None), PIECES], ids=["any", "of YAML"])
@settings(max_examples=300)
@given(data=st.data())
def test_any_text_is_answered(alphabet, data):
    answers(data.draw(st.text(alphabet=alphabet)))


@settings(max_examples=500)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(GOOD)), st.integers(0, 6), st.text(alphabet=PIECES, max_size=5)
        ),
        max_size=5,
    )
)
def test_any_damaged_manifest_is_answered(edits: list[tuple[int, int, str]]):
    text = GOOD
    for start, length, insert in edits:
        text = text[:start] + insert + text[start + length :]

    answers(text)


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["family", "model", "name", "pool", "server", "env", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_value_as_spec_is_answered(value: object):
    document = {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "metadata": {"name": "x"},
        "spec": value,
    }
    answers(json.dumps(document))  # JSON is YAML


def test_aliases_that_multiply_are_refused_before_they_expand():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20)]

    assert f"more than {NODES_MAX} values" in refused("\n".join(lines))


def test_aliases_that_nest_are_refused_before_they_recurse():
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 5000))]

    assert f"deeper than {DEPTH_MAX}" in refused("\n".join(lines))


@pytest.fixture(params=[yaml.SafeLoader, yaml.CSafeLoader], ids=["in Python", "libyaml"])
def _every_scanner(request, monkeypatch):
    """Each looks ahead as far as it likes, and has bounds of its own; libyaml may be missing."""
    monkeypatch.setattr(yaml_tree, "_LOADER", request.param)


@pytest.mark.usefixtures("_every_scanner")
@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        "[" * 1001,
        "[" * (DEPTH_MAX + 1),
        "{a: " * 5000,
        "[{a: " * 5000,
        "- " * 5000,
        "? " * 5000,
        "".join(f"{' ' * level}a:\n" for level in range(1400)),
        f"a: {'[' * 5000}",
        f"a: 1\n---\nb: {'[' * 30}x{']' * 30}\nc: {'{' * 5000}",
        f"{'- ' * 20}{'[' * 5000}",
        f"a: [ # ]]]]]\n {'[' * 5000}",
        f'a: ["]]]]]", {"[" * 5000}',
    ],
    ids=lambda text: text[:12],
)
def test_deep_nesting_is_refused_in_our_words_whatever_the_library_stops_at(text: str):
    said = refused(text)

    assert f"deeper than {DEPTH_MAX}" in said
    assert "YAML" not in said


@pytest.mark.usefixtures("_every_scanner")
@pytest.mark.parametrize(
    "text",
    [
        f'a: "{"[" * 5000}',
        f"a: '{'[' * 5000}",
        f"a: ['{'[' * 500}', b, c",
        f'a: ["{"{" * 500}\\"{"{" * 500}" }}',
        f"a: [b # {'[' * 500}\n",
        f"a: [{'[b], ' * 500} }}",
        f"{'[' * DEPTH_MAX}{']' * (DEPTH_MAX - 1)} }}",
    ],
    ids=lambda text: text[:12],
)
def test_other_faults_are_not_called_deep_nesting(text: str):
    assert "not YAML" in refused(text)


def test_a_text_beyond_the_bound_is_refused():
    assert refused("#" * (BYTES_MAX + 1)) == "f  is larger than 1 MiB: no manifest needs that"


def test_a_file_beyond_the_bound_is_refused_without_reading_all_of_it(tmp_path):
    path = tmp_path / "big.yaml"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)

    with pytest.raises(ManifestError, match="larger than 1 MiB"):
        parse_files([path])


def test_many_unknown_keys_are_answered_with_a_bounded_number_of_lines():
    text = GOOD + "".join(f"  key{i}: 1\n" for i in range(10_000))

    assert len(refused(text).splitlines()) == 51


@pytest.mark.parametrize("number", ["9" * 100_000, "1e999", "-" + "1" * 19, "0x" + "f" * 20])
def test_a_number_beyond_any_field_is_refused(number: str):
    assert "is too large a number" in refused(f"{GOOD}  replicas: {number}\n")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [x]", "!x 1", "!y {a: 1}"])
def test_tags_are_refused(tag: str):
    assert "leave it out" in refused(f"{GOOD}  external: {tag}\n")


@pytest.mark.parametrize("text", ["", "- a", "a", "a: 1\n---\nb: 2\n", "#" * (BYTES_MAX + 1)])
def test_a_configuration_that_is_not_one_mapping_is_refused(text: str):
    with pytest.raises(ManifestError):
        read_mapping(text, "f")
