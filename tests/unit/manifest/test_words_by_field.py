"""A bare word means what its field takes, in manifests and in older configurations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_texts import GOOD, spec_problem

from lumen_manifest.legacy.single_server import services_from_single_server_yaml
from lumen_manifest.reading.parse import ManifestError, parse_text
from lumen_manifest.source_uri import all_sources
from lumen_resources.errors import ResourceError
from lumen_resources.sources.open import folder_of, open_source
from lumen_resources.sources.protocol import SourceAccess

GUESSED = [
    *("12e4567", "1e999", "0123456", "0o17", "0x1F", "0b101", "1e3", "1_000", "007", "5", "1.0"),
    *("yes", "no", "on", "off", "y", "n", "Y", "N", "true", "False"),
    *("2024-01-01", "9" * 40),
]


def with_source(field: str) -> str:
    return GOOD.replace("    runtime: onnx\n", f"    runtime: onnx\n    source: {{{field}}}\n")


def with_words(word: str) -> str:
    text = GOOD.replace(
        "    runtime: onnx\n", f"    runtime: onnx\n    source: {{revision: {word}}}\n"
    )
    return f"{text}  aliases: [{word}]\n  labelSets: [{{name: {word}}}]\n"


@pytest.mark.parametrize("word", GUESSED)
def test_a_word_in_a_text_field_is_the_text_that_stands_there(word):
    (bare,) = parse_text(with_words(word), "x")
    (quoted,) = parse_text(with_words(f'"{word}"'), "x")

    assert bare == quoted
    assert bare.spec.model.source.revision == word
    assert bare.spec.label_sets[0].name == word


@pytest.mark.parametrize("word", ["null", "Null", "NULL"])
def test_a_null_is_a_text_where_nothing_else_may_stand(word):
    (service,) = parse_text(f"{GOOD}  labelSets: [{{name: {word}}}]\n", "x")

    assert service.spec.label_sets[0].name == word


@pytest.mark.parametrize("word", ["null", "~", ""])
def test_a_null_in_a_field_that_may_be_absent_is_nothing_as_on_the_api_server(word):
    text = GOOD.replace(
        "    runtime: onnx\n", f"    runtime: onnx\n    source: {{revision: {word}}}\n"
    )

    (service,) = parse_text(text, "x")
    assert service.spec.model.source.revision is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("replicas: yes", "spec.replicas: true is not a whole number"),
        ("default: 1e999", "spec.default: 1e999 is too large a number"),
    ],
)
def test_elsewhere_a_word_is_what_yaml_says(line, said):
    assert spec_problem(line).startswith(said)


def older(model: str, more: str = "") -> str:
    return (
        f"services: {{clip: {{models: {{default: {{model: {model}, runtime: onnx{more}}}}}, "
        f"env: {{SOME_PATH: {model}}}}}}}\n"
    )


@pytest.mark.parametrize("word", GUESSED)
def test_older_configurations_mean_texts_as_they_stand(word):
    bare = services_from_single_server_yaml(older(word, f", dataset: {word}"), "x")
    quoted = services_from_single_server_yaml(older(f'"{word}"', f', dataset: "{word}"'), "x")

    (service,) = bare.services
    assert bare == quoted
    assert service.service.spec.model.name == word
    assert service.service.spec.server.env[0].value == word


HOSTILE_URIS = [
    "hf:///",
    "hf://",
    "hf://a",
    "hf://a/b/",
    "hf://a:b@c/d",
    "http://[::1",
    "http://]/",
    "http://[::1]:99999/a",
    "http://a:99999999999999999999/b",
    "http://a:b/c",
    "https://",
    "https:///x",
    "https://a b/c",
    "https://a/%zz",
    "https://a/%00",
    "https://\u2100.example/x",
    "https://\u212a/\U0001f426",
    "s3://",
    "s3:///key",
    "s3://[bucket]/key",
    "pvc://",
    "pvc://[claim]/a",
    "file://",
    "file://[x]/y",
    "file:///%2e%2e/%2e%2e/etc",
    "file://../../..",
    "//a/b",
    ":",
    "",
    " ",
    "\\ud800",
    "a" * 10_000,
]


def answered(uri: str) -> None:
    """Either every part of the code can read the URI, or the file is refused with its place."""
    quoted = '"' + uri.replace("\\", "\\\\").replace('"', '\\"') + '"'
    text = f"{with_source(f'uri: {quoted}')}  labelSets: [{{name: a, source: {{uri: {quoted}}}}}]\n"
    try:
        (service,) = parse_text(text, "clip-service.yaml")
    except ManifestError as error:
        refused = error.problems
    else:
        assert len(list(all_sources(service.spec))) == 2
        assert opened(uri)
        return
    assert refused
    assert all(problem.line and problem.message for problem in refused)


def opened(uri: str) -> bool:
    """Whether a source is opened, or refused in our words."""
    try:
        folder = folder_of(uri, Path("/models"))
        if folder is None:
            open_source(uri, SourceAccess.from_environment({})).close()
        else:
            folder.exists()
    except ResourceError as error:
        return bool(error.remedy)
    return True


@pytest.mark.parametrize("uri", HOSTILE_URIS)
def test_whatever_stands_in_a_uri_is_answered_with_its_place(uri):
    answered(uri)


SCHEMES = st.sampled_from(["hf", "modelscope", "s3", "http", "https", "pvc", "file", "ftp", ""])
ODD = st.text(st.sampled_from("ab/:@[]%?#. ~-0123\u00e9\u2100\U0001f426"), max_size=20)


@given(SCHEMES, ODD | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20))
def test_no_uri_ends_in_a_traceback(scheme, rest):
    answered(f"{scheme}://{rest}")
