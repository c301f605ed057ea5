"""The committed CRDs and reference pages are fresh, and say what the API server takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.schema.crd import RESOURCES, definition, main
from lumen_manifest.schema.structural import SIZE, structural_schema
from lumen_manifest.spec.field_types import Strict

ROOT = Path(__file__).parents[3]
FORBIDDEN = {
    *("$ref", "$defs", "definitions", "title", "const", "deprecated", "uniqueItems"),
    *("patternProperties", "propertyNames", "oneOf", "allOf", "not"),
}

Schema = dict[str, Any]


def schemas() -> list[Schema]:
    found = [definition(resource) for resource in RESOURCES]
    return [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in found]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.{key}")


def every_node() -> list[tuple[str, Schema]]:
    return [found for schema in schemas() for found in nodes(schema)]


def models_below(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    seen.add(model)
    for field in model.model_fields.values():
        todo: list[Any] = [field.annotation]
        while todo:
            annotation = todo.pop()
            todo += get_args(annotation)
            is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
            if is_model and annotation not in seen:
                models_below(annotation, seen)
    return seen


def test_the_committed_files_are_what_the_models_say(tmp_path: Path):
    assert main([str(tmp_path / "crds"), str(tmp_path / "docs")]) == 0

    for fresh in (path for path in tmp_path.rglob("*") if path.is_file()):
        committed = ROOT / fresh.relative_to(tmp_path)
        assert committed.read_text() == fresh.read_text(), "run: make generate"


def test_wrong_arguments_are_refused(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_every_place_has_one_type():
    types = {"object", "array", "string", "integer", "number", "boolean"}

    wrong = [
        path
        for path, node in every_node()
        if (node.get("type") in types) is bool(node.get("x-kubernetes-int-or-string"))
    ]

    assert wrong == []


def test_nothing_stands_in_the_schema_that_structural_schemas_forbid():
    for path, node in every_node():
        assert not FORBIDDEN & node.keys(), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert node.get("additionalProperties") is not False, path
        assert "anyOf" not in node or node.get("x-kubernetes-int-or-string"), path
        assert node.get("default", 0) is not None, path


@pytest.mark.parametrize("schema", schemas(), ids=[r.kind for r in RESOURCES])
def test_every_field_is_explained(schema: Schema):
    unexplained = [
        f"{path}.{name}"
        for path, node in nodes(schema)
        for name, child in node.get("properties", {}).items()
        if "description" not in child and not path.startswith(".metadata") and name != "metadata"
    ]

    assert unexplained == []


@pytest.mark.parametrize("model", [LumenModelService, LumenNodePool])
def test_every_rule_of_a_model_is_a_rule_of_the_api_server(model: type[BaseModel]):
    below = {each for each in models_below(model, set()) if issubclass(each, Strict)}
    rules_of_models = [rule for each in below for rule in each.RULES]
    written = {(rule.cel, rule.message) for rule in rules_of_models if SIZE not in rule.cel}

    (schema,) = [s for s, r in zip(schemas(), RESOURCES, strict=True) if r.model is model]
    rules = [rule for _, node in nodes(schema) for rule in node.get("x-kubernetes-validations", [])]

    assert written <= {(rule["rule"], rule["message"]) for rule in rules}
    assert {rule.message for rule in rules_of_models} <= {rule["message"] for rule in rules}
    assert all("\n" not in rule["message"] for rule in rules)


def test_a_default_of_an_object_with_rules_satisfies_them_as_it_stands():
    (_, pool) = schemas()

    assert pool["properties"]["spec"]["properties"]["cache"]["default"] == {
        "type": "emptyDir",
        "sizeLimit": "8Gi",
        "shared": False,
    }


def test_keys_out_of_a_closed_set_are_a_rule():
    (_, pool) = schemas()

    assert pool["properties"]["spec"]["properties"]["images"]["x-kubernetes-validations"] == [
        {
            "rule": "self.all(key, key in ['torch', 'onnx', 'rknn'])",
            "message": "its keys are torch, onnx, rknn",
        }
    ]


def test_status_has_no_defaults():
    for schema in schemas():
        assert [p for p, node in nodes(schema["properties"]["status"]) if "default" in node] == []


def test_the_service_scales_and_the_pool_does_not():
    service, pool = (definition(r)["spec"]["versions"][0]["subresources"] for r in RESOURCES)

    assert service["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert pool == {"status": {}}


def test_kubectl_get_shows_the_columns_of_the_transcript():
    columns = definition(RESOURCES[0])["spec"]["versions"][0]["additionalPrinterColumns"]

    assert [c["name"] for c in columns] == [
        *("Family", "Model", "Runtime", "Pool", "Ready", "Replicas", "Endpoint", "Reason", "Age")
    ]


def test_every_column_shows_a_field_that_exists():
    for resource in RESOURCES:
        schema = structural_schema(resource.model)
        for column in resource.columns:
            place: Any = schema
            for part in column["jsonPath"].split("[")[0].strip(".").split("."):
                place = place["properties"][part]


def test_short_names_and_category_are_there():
    names = [definition(resource)["spec"]["names"] for resource in RESOURCES]

    assert [(n["shortNames"], n["categories"]) for n in names] == [
        (["lms"], ["lumen"]),
        (["lnp"], ["lumen"]),
    ]


def test_a_union_that_no_structural_schema_can_say_is_refused():
    class Either(BaseModel):
        value: int | str

    with pytest.raises(ValueError, match="no unions"):
        structural_schema(Either)


def test_the_committed_crds_are_one_yaml_document_without_anchors():
    for resource in RESOURCES:
        text = (ROOT / "crds" / resource.file_name).read_text()

        assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"
        assert "&id" not in text
