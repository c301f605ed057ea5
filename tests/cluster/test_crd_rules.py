"""Each CEL rule refuses what it should, says what to do, and lets the corrected manifest pass.

The API server evaluates them here; the parser, which `lumen up` and the operator use, must find the
same and say the same.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cluster_objects
import httpx
import pytest
import yaml

from lumen_manifest.reading.parse import ManifestError, parse_object

CRDS = Path(__file__).parents[2] / "crds"
SERVICES = "/apis/lumen.dev/v1alpha1/namespaces/{}/lumenmodelservices"
POOLS = "/apis/lumen.dev/v1alpha1/lumennodepools"
CPU = [{"type": "cpu", "target": 70}]


@dataclass(frozen=True, slots=True)
class Case:
    """What to set in a valid spec so that one rule refuses it, and what to set to please it."""

    where: str
    message: str
    refused: dict[str, Any]
    allowed: dict[str, Any]
    parsed: str = ""
    """What the parser says, where it has better words; otherwise the same."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


ABSENT = object()
PASSWORD = "not-to-be-shown"
SECRET = (
    "an address holds no password, key or query, which others would read: put them into the Secret "
    "that spec.model.source.secretRef names (on one machine: LUMEN_SOURCE_TOKEN, or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
)
LONG_KEY = "a key has at most 317 characters"
LARGE = [{"name": f"E{number}", "value": "x" * 4096} for number in range(17)]
OF_BOTH = [
    Case(
        "spec.cache",
        "a persistentVolumeClaim needs claimName, the name of an existing claim",
        {"cache": {"type": "persistentVolumeClaim"}},
        {"cache": {"type": "persistentVolumeClaim", "claimName": "models"}},
    ),
    Case(
        "spec.cache",
        "claimName and shared belong to type persistentVolumeClaim",
        {"cache": {"type": "emptyDir", "shared": True}},
        {"cache": {"type": "persistentVolumeClaim", "claimName": "models", "shared": True}},
    ),
]
SERVICE_CASES = [
    *OF_BOTH,
    Case(
        "spec.model",
        "runtime rknn computes in fp16 or int8: say which",
        {"model.runtime": "rknn"},
        {"model.runtime": "rknn", "model.precision": "int8"},
    ),
    Case(
        "spec.model",
        "an engine runs ONNX files: set runtime to onnx, or leave engine out",
        {"model.runtime": "torch", "model.engine": "openvino"},
        {"model.runtime": "onnx", "model.engine": "openvino"},
    ),
    *(
        Case(
            f"spec.labelSets[].{field}",
            "give a configMap, a file or a uri, exactly one of them",
            {"labelSets": [{"name": "birds", field: {"file": "a.txt", "uri": "https://h/a.txt"}}]},
            {"labelSets": [{"name": "birds", field: {"configMap": {"name": "b", "key": "b.txt"}}}]},
        )
        for field in ("includeFrom", "excludeFrom")
    ),
    *(
        Case(
            f"spec.labelSets[].{field}",
            "a digest is compared with what a uri leads to: give one, or leave it out",
            {"labelSets": [{"name": "birds", field: {"file": "a.txt", "sha256": "0" * 64}}]},
            {"labelSets": [{"name": "a", field: {"uri": "hf://o/n/a.txt", "sha256": "0" * 64}}]},
        )
        for field in ("includeFrom", "excludeFrom")
    ),
    Case(
        "spec.model.source",
        SECRET,
        {"model.source": {"uri": f"https://user:{PASSWORD}@models.example.org/clip"}},
        {"model.source": {"uri": "https://models.example.org/clip@2"}},
    ),
    *(
        Case(
            f"spec.labelSets[].{field}",
            SECRET,
            {"labelSets": [{"name": "birds", field: {"uri": refused}}]},
            {"labelSets": [{"name": "birds", field: {"uri": allowed}}]},
        )
        for field, refused, allowed in (
            ("source", f"s3://key:{PASSWORD}@bucket/birds", "s3://bucket/birds"),
            ("includeFrom", f"https://h/a.txt?X-Amz-Signature={PASSWORD}", "https://h/a.txt"),
            ("excludeFrom", f"hf://o/n/a.txt?token={PASSWORD}", "hf://o/n@v1/a.txt"),
        )
    ),
    Case(
        "spec.scenes",
        "give a preset or prompts, not both",
        {"scenes": {"preset": "oct2025", "prompts": ["a cat", "a dog"]}},
        {"scenes": {"prompts": ["a cat", "a dog"]}},
    ),
    Case(
        "spec.autoscaling",
        "minReplicas must not exceed maxReplicas",
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
        {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
    ),
    Case(
        "spec.server.env[]",
        "variables that start with LUMEN_ are Lumen's own: set the field of the manifest instead",
        {"server": {"env": [{"name": "LUMEN_PORT", "value": "1"}]}},
        {"server": {"env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}},
    ),
    Case(
        "spec.podTemplate",
        "labels under lumen.dev/ and app.kubernetes.io/ are Lumen's own: use a prefix of yours",
        {"podTemplate": {"labels": {"lumen.dev/service": "mine"}}},
        {"podTemplate": {"labels": {"kwok.lumen.dev/behaviour": "oom"}}},
    ),
    Case(
        "spec.podTemplate.annotations",
        LONG_KEY,
        {"podTemplate": {"annotations": {"k" * 318: "x"}}},
        {"podTemplate": {"annotations": {"k" * 317: "x"}}},
        parsed="is too long: at most 317 characters",
    ),
    Case(
        "spec",
        "the spec is larger than 64 KiB: shorten its longest lists",
        {"server": {"env": LARGE}},
        {"server": {"env": LARGE[:15]}},
    ),
    Case(
        "spec",
        "name a pool, or an external address: exactly one of the two",
        {"external": "board:50051"},
        {"external": "board:50051", "pool": ABSENT},
    ),
    Case(
        "spec",
        "scenes belong to the families clip and siglip",
        {"family": "bioclip", "scenes": {}},
        {"family": "siglip", "scenes": {}},
    ),
    Case(
        "spec",
        "autoscaling on cpu needs spec.resources.requests.cpu",
        {"autoscaling": {"maxReplicas": 2, "metrics": CPU}},
        {
            "autoscaling": {"maxReplicas": 2, "metrics": CPU},
            "resources": {"requests": {"cpu": "500m"}},
        },
    ),
]
POOL_CASES = [
    *OF_BOTH,
    Case(
        "spec",
        "the spec is larger than 64 KiB: shorten its longest lists",
        {"env": LARGE},
        {"env": LARGE[:15]},
    ),
    Case(
        "spec.env[]",
        "variables that start with LUMEN_ are Lumen's own: set the field of the manifest instead",
        {"env": [{"name": "LUMEN_", "value": "1"}]},
        {"env": [{"name": "HSA_OVERRIDE_GFX_VERSION", "value": "11.0.0"}]},
    ),
    Case(
        "spec.images",
        "its keys are torch, onnx, rknn",
        {"images": {"tensorrt": "registry.example/server:1"}},
        {"images": {"torch": "registry.example/server:1"}},
        parsed='"tensorrt" is not a key',
    ),
    Case(
        "spec.podSecurity",
        "procMount Unmasked needs hostUsers: false",
        {"podSecurity": {"procMount": "Unmasked"}},
        {"podSecurity": {"procMount": "Unmasked", "hostUsers": False}},
    ),
    Case(
        "spec",
        "accelerator cpu has no device: leave it out",
        {"accelerator": "cpu"},
        {"accelerator": "cpu", "device": ABSENT},
    ),
]
FAMILY_IS_FIXED = ("spec", "family cannot change: delete the service and make another")


@pytest.mark.parametrize(
    ("kind", "case"),
    [("service", each) for each in SERVICE_CASES] + [("pool", each) for each in POOL_CASES],
    ids=str,
)
def test_a_rule_refuses_says_what_to_do_and_allows(control_plane, namespace, kind, case):
    path, make = (SERVICES.format(namespace), a_service) if kind == "service" else (POOLS, a_pool)

    assert_refused(tried(control_plane, path, make(case.refused)), case)
    assert_allowed(tried(control_plane, path, make(case.allowed)))
    assert (case.parsed or case.message) in parser_says(make(case.refused))
    assert PASSWORD not in parser_says(make(case.refused))
    assert parser_says(make(case.allowed)) == ""


def test_the_family_of_a_service_cannot_change_and_the_rest_can(control_plane, namespace):
    path = SERVICES.format(namespace)
    control_plane.create(path, a_service({}))

    with pytest.raises(httpx.HTTPStatusError) as refused:
        control_plane.patch(f"{path}/some", {"spec": {"family": "siglip"}})
    changed = control_plane.patch(f"{path}/some", {"spec": {"family": "clip", "pool": "cuda"}})

    assert FAMILY_IS_FIXED[1] in str(refused.value)
    assert changed["spec"]["pool"] == "cuda"


@pytest.mark.parametrize("name", ["a", "clip-2", "c" * 50])
def test_a_service_may_have_a_name_that_a_service_object_may_have(control_plane, namespace, name):
    path = SERVICES.format(namespace)

    assert_allowed(tried(control_plane, path, a_service({}, name)))


@pytest.mark.parametrize("name", ["2clip", "clip.two", "clip-", "c" * 51])
def test_a_name_that_makes_no_name_of_a_service_object_is_refused(control_plane, namespace, name):
    answer = tried(control_plane, SERVICES.format(namespace), a_service({}, name))

    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert "metadata.name" in answer.json()["message"]


def test_every_rule_of_the_crds_has_its_test():
    services = set(rules_of("lumenmodelservices")) - {FAMILY_IS_FIXED}
    pools = set(rules_of("lumennodepools"))

    # Every map has the rule about its keys; it is one and the same.
    assert {each for each in services if each[1] != LONG_KEY} == {
        (case.where, case.message) for case in SERVICE_CASES if case.message != LONG_KEY
    }
    assert {each for each in pools if each[1] != LONG_KEY} == {
        (case.where, case.message) for case in POOL_CASES
    }
    assert LONG_KEY in {case.message for case in SERVICE_CASES}


def a_service(changes: dict[str, Any], name: str = "some") -> dict[str, Any]:
    document = cluster_objects.a_service(name)
    return {**document, "spec": changed(document["spec"], changes)}


def a_pool(changes: dict[str, Any]) -> dict[str, Any]:
    device = {"resource": "nvidia.com/gpu"}
    document = cluster_objects.a_pool("some", accelerator="cuda", device=device)
    return {**document, "spec": changed(document["spec"], changes)}


def changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = deepcopy(spec)
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        place = result
        for parent in parents:
            place = place[parent]
        if value is ABSENT:
            del place[leaf]
        else:
            place[leaf] = value
    return result


def tried(control_plane, path: str, document: dict[str, Any]) -> httpx.Response:
    return control_plane.http.post(path, json=document, params={"dryRun": "All"})


def assert_refused(answer: httpx.Response, case: Case) -> None:
    """For this reason and no other, at the place that the rule is about."""
    causes = answer.json()["details"]["causes"]
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert [cause["field"].replace("[0]", "[]") for cause in causes] == [case.where]
    assert case.message in causes[0]["message"]
    assert PASSWORD not in answer.text


def assert_allowed(answer: httpx.Response) -> None:
    assert answer.status_code == httpx.codes.CREATED, answer.text


def parser_says(document: dict[str, Any]) -> str:
    """Return what the parser has against it; nothing when it is fine."""
    try:
        parse_object(document)
    except ManifestError as error:
        return str(error)
    return ""


def rules_of(plural: str) -> Iterator[tuple[str, str]]:
    """Yield where each rule of a CRD is, and what it says."""
    crd = yaml.safe_load((CRDS / f"lumen.dev_{plural}.yaml").read_text())
    yield from _rules(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
