"""What a person reads when a manifest is wrong: where, what, and what would be right."""

from pathlib import Path

import pytest
from manifest_texts import GOOD, problems_of, spec_problem

from lumen_manifest.reading.parse import ManifestError, parse_files, parse_object, parse_text


def test_a_good_manifest_becomes_a_service():
    (service,) = parse_text(GOOD, "clip-service.yaml")

    assert service.key == ("default", "clip")


def test_a_misspelt_value_is_named_with_its_place_and_the_closest_one():
    problems = problems_of(GOOD.replace("onnx", '"onxx"'))

    assert problems == [
        (
            'clip-service.yaml:9:14  spec.model.runtime: "onxx" is not a runtime. '
            "Did you mean onnx? (torch, onnx, rknn)"
        )
    ]


def test_a_misspelt_key_is_named_with_its_place_and_the_closest_one():
    problems = problems_of(GOOD.replace("runtime", "runtyme"))

    assert problems == [
        "clip-service.yaml:7:3  spec.model.runtime: is missing. Choose one of torch, onnx, rknn.",
        (
            "clip-service.yaml:9:5  spec.model.runtyme: is not a field here. Did you mean runtime? "
            "(name, runtime, precision, engine, towers, "
            "preprocess, source, expectEmbeddingSpace)"
        ),
    ]


def test_all_problems_of_a_file_are_reported_in_the_order_of_their_lines():
    text = GOOD.replace("onnx", "onxx").replace("name: clip", "name: Clip") + "  replicas: many\n"

    lines = [problem.split(":")[1] for problem in problems_of(text)]

    assert lines == ["4", "9", "11"]


def test_all_problems_of_all_documents_and_files_are_reported(tmp_path: Path):
    bad = GOOD.replace("onnx", "onxx")
    (tmp_path / "one.yaml").write_text(f"{bad}---\n{bad}")
    (tmp_path / "two.yaml").write_text(bad)

    with pytest.raises(ManifestError) as caught:
        parse_files([tmp_path / "one.yaml", tmp_path / "none.yaml", tmp_path / "two.yaml"])

    found = [(Path(problem.file).name, problem.line) for problem in caught.value.problems]
    assert found == [("one.yaml", 9), ("one.yaml", 20), ("none.yaml", 0), ("two.yaml", 9)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'replicas: "2"',
            'spec.replicas: "2" is text, a whole number is needed: write 2 without quotes',
        ),
        ("replicas: 1.5", "spec.replicas: 1.5 is not a whole number"),
        ("replicas: -1", "spec.replicas: -1 is too small: at least 0"),
        ("replicas: 1001", "spec.replicas: 1001 is too large: at most 1000"),
        ("replicas:", "spec.replicas: is empty: remove the line, or give it a value."),
        ("default: maybe", 'spec.default: "maybe" is neither true nor false: write one of the two'),
        ("aliases: fast", 'spec.aliases: "fast" is not a list: put "- " in front of each entry'),
        ("aliases: [{a: b}]", "spec.aliases[0]: is a mapping, text is needed"),
        ("aliases: [~]", 'spec.aliases[0]: "~" cannot be used'),
        (
            "cache: 8Gi",
            'spec.cache: "8Gi" is not a mapping with type, sizeLimit, claimName, shared',
        ),
        (
            "resources: {limits: {cpu: lots}}",
            (
                'spec.resources.limits.cpu: "lots" cannot be used: '
                "write an amount such as 2, 500m or 8Gi"
            ),
        ),
        (
            "labelSets: [{name: a, include: [Aves]}]",
            (
                'spec.labelSets[0].include[0]: "Aves" cannot be used: write rank=name, such as '
                "class=Aves (ranks: kingdom, phylum, class, order, family, genus, species)"
            ),
        ),
        (
            "labelSets: [{name: a}, {name: a}]",
            'spec.labelSets: "a" stands here twice; each name may occur once',
        ),
        (
            "labelSets: [{name: a, labelFormat: latin}]",
            (
                'spec.labelSets[0].labelFormat: "latin" is not a label format. '
                "(common, scientific, path8)"
            ),
        ),
        (
            "label_sets: []",
            (
                "spec.label_sets: is not a field here. Did you mean labelSets? (family, aliases, "
                "default, model, labelSets, scenes, pool, replicas, autoscaling, server, cache, "
                "rollout, resources, podTemplate, external)"
            ),
        ),
        (
            "podTemplate: {labels: {bad key!: x}}",
            (
                'spec.podTemplate.labels["bad key!"]: "bad key!" cannot be used: '
                "write a Kubernetes label key, such as example.com/team"
            ),
        ),
        (
            "scenes: {threshold: .nan}",
            "spec.scenes.threshold: .nan is not a number that a manifest can hold",
        ),
        ("pool: cuda", "spec.pool: stands here twice, first in line 10: keep one"),
    ],
)
def test_a_wrong_field_says_what_would_be_right(line: str, problem: str):
    assert spec_problem(line).startswith(problem)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("  pool: cpu\n  external: board:50051\n", "spec.pool"),
        ("", "spec.pool"),
        ("  pool: cpu\n  scenes: {preset: oct2025, prompts: [a, b]}\n", "spec.scenes.prompts"),
        ("  pool: cpu\n  cache: {type: persistentVolumeClaim}\n", "spec.cache.claimName"),
        ("  pool: cpu\n  cache: {claimName: models}\n", "spec.cache.type"),
        (
            "  pool: cpu\n  autoscaling: {minReplicas: 3, maxReplicas: 2}\n",
            "spec.autoscaling.minReplicas",
        ),
        (
            "  pool: cpu\n  autoscaling: {maxReplicas: 2, metrics: [{type: cpu, target: 80}]}\n",
            "spec.autoscaling",
        ),
        ("  pool: cpu\n  server: {env: [{name: LUMEN_CONFIG}]}\n", "spec.server.env[0].name"),
        ("  pool: cpu\n  podTemplate: {labels: {lumen.dev/x: a}}\n", "spec.podTemplate.labels"),
    ],
)
def test_a_rule_over_several_fields_names_the_field_to_change(spec: str, path: str):
    (problem,) = problems_of(GOOD.replace("  pool: cpu\n", spec))

    assert problem.partition("  ")[2].startswith(f"{path}: ")


def test_rknn_needs_a_precision_that_is_said():
    (problem,) = problems_of(GOOD.replace("onnx", "rknn"))

    assert problem.endswith(
        "spec.model.precision: runtime rknn computes in fp16 or int8: say which"
    )


def test_several_broken_rules_are_reported_together():
    text = GOOD.replace("family: clip", "family: bioclip") + "  external: a:1\n  scenes: {}\n"

    assert {problem.split()[1] for problem in problems_of(text)} == {"spec.pool:", "spec.scenes:"}


@pytest.mark.parametrize("name", ["Clip", "1clip", "clip.x", "clip-", "x" * 51, "clip\u00e9"])
def test_a_name_that_makes_no_service_name_is_refused(name: str):
    (problem,) = problems_of(GOOD.replace("name: clip\n", f"name: {name}\n", 1))

    assert problem.startswith("clip-service.yaml:4:9  metadata.name: ")


def test_a_key_out_of_a_closed_set_names_the_choices():
    pool = (
        "apiVersion: lumen.dev/v1alpha1\nkind: LumenNodePool\nmetadata: {name: mine}\n"
        "spec: {accelerator: cpu, images: {onxx: mine:1}}\n"
    )

    assert problems_of(pool) == [
        (
            'clip-service.yaml:4:35  spec.images.onxx: "onxx" is not a key. Did you mean onnx? '
            "(torch, onnx, rknn)"
        )
    ]


def test_an_object_of_the_api_server_is_taken_with_its_metadata(service_document):
    document = service_document()
    document["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 3,
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
    }
    document["status"] = {"ready": "1/1", "someday": {"new": True}}

    service = parse_object(document)

    assert (service.metadata.generation, service.status.ready) == (3, "1/1")


def test_an_object_that_breaks_a_rule_names_the_field_without_a_file(service_document):
    with pytest.raises(ManifestError) as caught:
        parse_object(service_document(replicas=-1))

    assert str(caught.value) == "spec.replicas: -1 is too small: at least 0"


@pytest.mark.parametrize("document", [{}, {"kind": "Pod"}, {"kind": ["LumenModelService"]}])
def test_another_object_is_refused(document):
    with pytest.raises(ManifestError, match="is not Lumen's"):
        parse_object(document)
