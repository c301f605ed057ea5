"""What every rendering is: the same for both Helms, valid, and without known faults."""

import json
from collections import Counter

import pytest
from chart.rendering import (
    CHART,
    REPOSITORY,
    VALUE_SETS,
    ProgramFailed,
    manifests,
    rendered,
    run,
    template,
    the,
)
from chart.schemas import SCHEMA_FILE, schema_folder

KINDS_WITHOUT_NAMESPACE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}

# kube-score's critical findings that we live with, by check, and by object where it is one's own.
ACCEPTED = {
    ("container-image-pull-policy", "*"): "tags are versions, and a node without its registry "
    "must still restart a pod; images.pullPolicy says otherwise where tags move",
    ("container-resources", "*"): "no CPU limit: the kernel would throttle a router that has spare "
    "cores beside it, and its callers would wait; memory is limited",
    ("pod-networkpolicy", "lumen-test"): "it lives for seconds, during `helm test`, and only asks",
    ("pod-networkpolicy", "lumen-mdns"): "policies do not apply to pods of the node's network",
}


@pytest.mark.parametrize("values", VALUE_SETS)
def test_lint_finds_nothing(helm, values):
    said = run(helm, "lint", "--strict", CHART, *VALUE_SETS[values])

    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "WARNING" not in said


@pytest.mark.parametrize("values", VALUE_SETS)
def test_both_helms_render_the_same(helm3, helm4, values):
    three, four = (rendered(helm, *VALUE_SETS[values]) for helm in (helm3, helm4))

    assert _sorted(three) == _sorted(four)


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_object_has_our_labels_and_a_name_of_its_own(helm3, values):
    documents = rendered(helm3, *VALUE_SETS[values])

    names = Counter(
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for one in documents
    )
    assert [name for name, times in names.items() if times > 1] == []
    for one in documents:
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "lumen"
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "lumen"
        assert ("namespace" in one["metadata"]) != (one["kind"] in KINDS_WITHOUT_NAMESPACE)


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_object_conforms_to_the_schema_of_its_kind(helm3, kubeconform, values):
    text = template(helm3, *VALUE_SETS[values])

    said = conformance(kubeconform, text)

    objects = len(manifests(text))
    assert said["summary"] == {"valid": objects, "invalid": 0, "errors": 0, "skipped": 0}


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("imagePullPolicy:", "imagePullPolcy:", "'imagePullPolcy' not allowed"),
        ("podMetricsEndpoints:", "podMetricEndpoints:", "'podMetricEndpoints' not allowed"),
        ("backendRefs:", "backends:", "'backends' not allowed"),
        ("replicas: 3", "replicas: three", "got string, want integer"),
    ],
)
def test_the_schemas_find_what_is_wrong(helm3, kubeconform, right, wrong, said):
    text = template(helm3, *VALUE_SETS["everything"])
    assert right in text

    with pytest.raises(ProgramFailed, match=said):
        conformance(kubeconform, text.replace(right, wrong))


def conformance(kubeconform, text):
    location = f"{schema_folder()}/{SCHEMA_FILE}"
    options = ["-strict", "-output=json", "-summary", f"-schema-location={location}"]
    return json.loads(run(kubeconform, *options, stdin=text))


@pytest.mark.parametrize("values", VALUE_SETS)
def test_kube_score_finds_nothing_critical_that_is_not_explained(helm3, kube_score, values):
    text = template(helm3, *VALUE_SETS[values])

    found = critical_findings(kube_score, text)

    unexplained = [
        (check, name) for check, name in found if not {(check, name), (check, "*")} & set(ACCEPTED)
    ]
    assert unexplained == []


def test_no_explanation_outlives_its_finding(helm3, kube_score):
    found = {
        key
        for values in VALUE_SETS.values()
        for check, name in critical_findings(kube_score, template(helm3, *values))
        for key in ((check, name), (check, "*"))
    }

    assert set(ACCEPTED) - found == set()


def critical_findings(kube_score, text):
    """Check and name of the object for each finding at kube-score's worst grade."""
    options = ["--output-format=json", "--exit-one-on-warning=false"]
    options += [f"--enable-optional-test={name}" for name in ("container-seccomp-profile",)]
    said = run(
        "sh", "-c", '"$@"; test $? -le 1', "sh", kube_score, "score", *options, "-", stdin=text
    )
    return [
        (check["check"]["id"], scored["object_meta"]["name"])
        for scored in json.loads(said)
        for check in scored["checks"]
        if not check["skipped"] and check["grade"] == 1
    ]


def test_the_suites_pass(helm_unittest):
    run(helm_unittest, "--strict", CHART)


def test_the_charts_definitions_are_the_generated_ones(helm3):
    documents = rendered(helm3)
    generated = [
        one for path in (REPOSITORY / "crds").glob("*.yaml") for one in manifests(path.read_text())
    ]

    assert len(generated) == 2
    for definition in generated:
        installed = the(documents, definition["kind"], definition["metadata"]["name"])
        assert installed["spec"] == definition["spec"]
    for path in (REPOSITORY / "crds").glob("*.yaml"):
        assert (CHART / "files" / "crds" / path.name).read_bytes() == path.read_bytes()


def test_nothing_in_the_generated_definitions_is_evaluated(helm3):
    """They are read as files, so that braces in a description or a rule stay what they are."""
    crds = (CHART / "templates" / "crds.yaml").read_text()

    assert "tpl" not in crds
    assert ".Files.Get" in crds


def _sorted(documents):
    return sorted(documents, key=lambda one: json.dumps(one, sort_keys=True))
