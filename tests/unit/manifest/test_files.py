"""Manifests as files: what YAML may say, and where it stands when it cannot be read."""

from pathlib import Path

import pytest
from manifest_texts import GOOD, HEAD, problems_of, spec_problem

from lumen_manifest.reading.parse import ManifestError, parse_files, parse_text


def test_two_services_with_one_name_are_refused_with_both_places():
    (problem,) = problems_of(f"{GOOD}---\n{GOOD}")

    assert problem == (
        'clip-service.yaml:15:9  metadata.name: "clip" is taken by the LumenModelService '
        "of line 4: choose another"
    )


def test_an_alias_that_is_anothers_name_is_refused_at_its_place():
    first = GOOD.replace("name: clip", "name: first", 1)
    second = GOOD.replace("name: clip", "name: second", 1) + "  aliases: [own, first]\n"

    with pytest.raises(ManifestError) as refused:
        parse_text(f"{first}---\n{second}", "two.yaml")

    (problem,) = refused.value.problems
    assert problem.path == "spec.aliases[1]"
    assert (problem.line, problem.column) == (
        len(first.splitlines()) + len(second.splitlines()) + 1,
        18,
    )
    assert problem.message == (
        "Callers who say first reach first, which is called so and came first. "
        "Take it out of spec.aliases"
    )


def test_one_name_in_two_namespaces_is_two_services():
    other = GOOD.replace("  name: clip\n", "  name: clip\n  namespace: other\n", 1)

    keys = [service.key for service in parse_text(f"{GOOD}---\n{other}", "x")]

    assert keys == [("default", "clip"), ("other", "clip")]


def test_two_services_with_one_name_in_two_files_are_refused(tmp_path: Path):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)

    with pytest.raises(ManifestError, match=r"b\.yaml:4:9 .* is taken by .*a\.yaml:4"):
        parse_files([tmp_path / "a.yaml", tmp_path / "b.yaml"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "clip-service.yaml  holds no manifest: it is empty"),
        ("# only a comment\n---\n", "clip-service.yaml  holds no manifest: it is empty"),
        (
            "- a\n",
            (
                "clip-service.yaml:1:1  a manifest is a mapping with apiVersion, kind, metadata "
                "and spec, not a list"
            ),
        ),
        (
            "kind: LumenModelService\n",
            "clip-service.yaml:1:1  apiVersion: is missing: write apiVersion: lumen.dev/v1alpha1",
        ),
        (
            "apiVersion: lumen.dev/v1alpha1\n",
            "clip-service.yaml:1:1  kind: is missing: write LumenModelService or LumenNodePool",
        ),
        (
            "apiVersion: lumen.dev/v1\nkind: LumenModelService\n",
            (
                'clip-service.yaml:1:13  apiVersion: "lumen.dev/v1" is not known here: '
                "write lumen.dev/v1alpha1"
            ),
        ),
        (
            "apiVersion: lumen.dev/v1alpha1\nkind: LumenModelServise\n",
            (
                'clip-service.yaml:2:7  kind: "LumenModelServise" is not a kind of Lumen. '
                "Did you mean LumenModelService? (LumenModelService, LumenNodePool)"
            ),
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\n",
            (
                "clip-service.yaml:2:7  kind: v1 ConfigMap is not Lumen's. A file for Lumen holds "
                "LumenModelService and LumenNodePool; keep other objects in files of their own and "
                "apply them with kubectl"
            ),
        ),
        (
            "a:\n\tb: 1\n",
            "clip-service.yaml:2:1  a tab stands in the indentation: use spaces",
        ),
        (
            "a: [1, 2\n",
            (
                "clip-service.yaml:2:1  not YAML: while parsing a flow sequence; "
                "did not find expected ',' or ']'"
            ),
        ),
        ("a: \x07\n", "clip-service.yaml:1:4  the character U+0007 is not allowed: remove it"),
        ("a: *b\n", "clip-service.yaml:1:4  *b: no complete anchor &b stands before it"),
        ("a: &a [*a]\n", "clip-service.yaml:1:8  *a: no complete anchor &a stands before it"),
        ("? [a]\n: b\n", "clip-service.yaml:1:3  a key must be text, not a list or mapping"),
    ],
)
def test_a_file_that_is_no_manifest_says_so_with_its_place(text: str, problem: str):
    assert problems_of(text) == [problem]


def test_what_stands_before_a_syntax_error_is_reported_too():
    problems = problems_of(f"{GOOD.replace('onnx', 'onxx')}---\na: [\n")

    assert [problem.split(":")[1] for problem in problems] == ["9", "13"]


def test_a_file_that_is_not_utf_8_names_the_place(tmp_path: Path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"# ok\nname: caf\xe9\n")

    with pytest.raises(ManifestError, match=r"latin\.yaml:2:10  is not UTF-8"):
        parse_files([path])


def test_a_folder_is_no_manifest(tmp_path: Path):
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        parse_files([tmp_path])


def test_comments_anchors_and_merge_keys_work():
    text = f"""\
# a comment
{HEAD}\
spec: &spec
  family: clip
  model: {{name: MobileCLIP2-S2, runtime: onnx}}   # another
  pool: cpu
---
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: second}}
spec:
  <<: &base {{family: clip, pool: cpu, replicas: 3}}
  pool: cuda
  model: &model {{name: MobileCLIP2-S4, runtime: onnx}}
---
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: third, labels: &labels {{team: birds}}}}
spec:
  family: bioclip
  model: {{name: bioclip-2, runtime: onnx}}
  pool: cpu
  podTemplate: {{labels: *labels}}
"""
    first, second, third = parse_text(text, "x")

    assert (first.spec.pool, second.spec.pool, second.spec.replicas) == ("cpu", "cuda", 3)
    assert third.spec.pod_template.labels == {"team": "birds"}


def test_times_and_dates_stay_text_as_kubectl_reads_them():
    (service,) = parse_text(f"{GOOD}  aliases: [12:30, 2024-01-31]\n", "x")

    assert service.spec.aliases == ("12:30", "2024-01-31")


def test_a_bare_number_is_a_quantity():
    (service,) = parse_text(f"{GOOD}  resources: {{limits: {{cpu: 2, memory: 1.5Gi}}}}\n", "x")

    assert service.spec.resources.limits == {"cpu": "2", "memory": "1.5Gi"}


def test_a_fraction_of_a_quantity_needs_quotes_as_on_the_api_server():
    problem = spec_problem("resources: {limits: {cpu: 1.5}}")

    assert problem == (
        "spec.resources.limits.cpu: 1.5 is read as a number, text is needed: put it in quotes"
    )
