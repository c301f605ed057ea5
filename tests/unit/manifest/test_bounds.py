"""How large, how deep and how wild a manifest may be: the same to the API server and to us."""

import json
import math
from typing import Any

import pytest
import yaml
from manifest_texts import GOOD

from lumen_manifest.reading.parse import ManifestError, parse_object
from lumen_manifest.schema.crd import RESOURCES, object_schema
from lumen_manifest.schema.structural import Schema, UnboundedError, largest_bytes, longest_key
from lumen_manifest.spec.field_types import SPEC_MAX_BYTES
from lumen_manifest.spec.service_status import ModelServiceStatus

STATUS_MAX_BYTES = 256 * 1024
KINDS = pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)


def a_service(**spec: Any) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(GOOD)
    document["spec"] |= spec
    return document


def nested(depth: int) -> Any:
    value: Any = "end"
    for _ in range(depth):
        value = {"a": value}
    return value


def problem_with(document: dict[str, Any]) -> str:
    with pytest.raises(ManifestError) as caught:
        parse_object(document)
    return str(caught.value)


def part_of(resource: Any, part: str) -> Schema:
    schema: Schema = object_schema(resource.model)["properties"][part]
    return schema


@KINDS
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_text_list_and_map_of_a_resource_has_a_bound(resource, part):
    bound = largest_bytes(part_of(resource, part))

    assert math.isfinite(bound)


@KINDS
def test_the_largest_spec_that_the_api_server_takes_is_64_kib(resource):
    spec = part_of(resource, "spec")
    (limit,) = [
        int(rule["rule"].rpartition(" <= ")[2])
        for rule in spec["x-kubernetes-validations"]
        if "larger than" in rule["message"]
    ]

    assert limit == SPEC_MAX_BYTES == 65536


@KINDS
def test_the_largest_status_is_bounded_by_its_fields_alone(resource):
    assert largest_bytes(part_of(resource, "status")) <= STATUS_MAX_BYTES


@KINDS
def test_nothing_in_a_resource_is_free_form(resource):
    assert "preserve-unknown" not in json.dumps(object_schema(resource.model))


@pytest.mark.parametrize(
    "free",
    [
        {"type": "string"},
        {"type": "array", "items": {"type": "string", "maxLength": 3}},
        {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ],
)
def test_a_schema_without_a_bound_is_found(free):
    with pytest.raises(UnboundedError, match=r"self\.field"):
        largest_bytes({"type": "object", "properties": {"field": free}})


def test_keys_are_bounded_by_their_rule():
    template = part_of(RESOURCES[0], "spec")["properties"]["podTemplate"]

    assert longest_key(template["properties"]["annotations"], "annotations") == 317


AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
                        {"key": "example.com/gpus", "operator": "Gt", "values": ["1"]},
                    ],
                    "matchFields": [
                        {"key": "metadata.name", "operator": "NotIn", "values": ["node-1"]}
                    ],
                }
            ]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 50,
                "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]},
            }
        ],
    },
    "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "labelSelector": {"matchLabels": {"app": "db"}},
                "topologyKey": "topology.kubernetes.io/zone",
                "namespaces": ["databases"],
                "namespaceSelector": {},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ]
    },
}
CONSTRAINT = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {
        "matchExpressions": [{"key": "lumen.dev/service", "operator": "In", "values": ["clip"]}]
    },
    "minDomains": 2,
    "nodeAffinityPolicy": "Honor",
    "nodeTaintsPolicy": "Ignore",
}


@pytest.mark.parametrize(
    "template", [{"affinity": AFFINITY}, {"topologySpreadConstraints": [CONSTRAINT]}]
)
def test_placement_as_core_v1_has_it_is_understood_and_handed_on_as_written(template):
    read = parse_object(a_service(podTemplate=template)).spec.pod_template

    assert read.model_dump(mode="json", by_alias=True, exclude_defaults=True) == template


@pytest.mark.parametrize("depth", [41, 300, 990, 2_000, 100_000])
def test_a_value_that_is_nested_too_deeply_is_named_with_its_place(depth):
    problem = problem_with(a_service(podTemplate={"affinity": nested(depth)}))

    assert problem.startswith("spec.podTemplate.affinity.a.a.a: nested deeper than 40 levels")


@pytest.mark.parametrize(
    "wild",
    [7, -1, 10**400, 1e308, True, "text", "\ud800", "\x00\u202e", [[]], [None], {"": {}}],
    ids=repr,
)
@pytest.mark.parametrize(
    "field",
    ["affinity", "tolerations", "topologySpreadConstraints", "labels", "annotations"],
)
def test_a_value_of_a_wrong_type_is_a_problem_with_a_place(field, wild):

    problem = problem_with(a_service(podTemplate={field: wild}))

    assert problem.startswith("spec.podTemplate") or "JSON" in problem


MISSPELT = "spec.podTemplate.affinity.nodeAfinity: is not a field here. Did you mean nodeAffinity?"
LONG = {"env": [{"name": f"E{number}", "value": "x" * 4096} for number in range(20)]}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        *(
            ({"resources": {"limits": {"cpu": beyond}}}, "spec.resources.limits.cpu: ")
            for beyond in ("1e999999999", "1E-100", "1e+1000000")
        ),
        ({"server": LONG}, "spec: the spec is larger than 64 KiB: shorten its longest lists"),
        ({"podTemplate": {"affinity": {"nodeAfinity": {}}}}, MISSPELT),
    ],
)
def test_what_is_beyond_a_bound_or_misspelt_is_named_with_its_place(spec, problem):
    assert problem_with(a_service(**spec)).startswith(problem)


def test_what_we_write_ourselves_is_cut_and_never_lost():
    status = ModelServiceStatus.model_validate(
        {
            "stableRevision": "clip-1",
            "modelId": "m" * 1000,
            "tasks": ["t" * 1000] * 100,
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Ready", "message": "x" * 9000}
            ],
        }
    )

    assert status.stable_revision == "clip-1"
    assert (len(status.model_id), len(status.tasks), len(status.tasks[0])) == (256, 32, 100)
    assert len(status.conditions[0].message) == 2048
