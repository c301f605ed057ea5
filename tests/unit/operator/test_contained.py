"""When is an apply skipped?"""

import copy
import json

import pytest
from cluster_objects import paths_in

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render import render
from lumen_operator.children.subset import contained
from lumen_operator.observe.managed_fields import Rival, has_leftovers, packed, rival_of


def owned(manager: str, fields: dict, operation: str = "Apply", **more: str) -> dict:
    entry = {"manager": manager, "operation": operation, "fieldsV1": fields, **more}
    return {"metadata": {"managedFields": [packed(entry)]}}


def deployment() -> dict:
    service = LumenModelService.model_validate(
        {
            "metadata": {"name": "clip"},
            "spec": {
                "family": "clip",
                "model": {"name": "m", "runtime": "onnx"},
                "pool": "cpu",
                "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}},
            },
        }
    )
    pool = LumenNodePool.model_validate(
        {"metadata": {"name": "cpu"}, "spec": {"accelerator": "cpu"}}
    )
    return json.loads(json.dumps(render(service, pool).deployments[0]))


def server_of(stored: dict) -> dict:
    return stored["spec"]["template"]["spec"]["containers"][0]


def test_what_the_server_adds_is_no_difference():
    stored = deployment()
    stored["metadata"] |= {"uid": "u", "generation": 3}
    stored["status"] = {"replicas": 1}
    server_of(stored)["env"].append({"name": "INJECTED", "value": "x"})
    stored["spec"]["template"]["spec"]["volumes"].insert(0, {"name": "more", "emptyDir": {}})

    assert contained(deployment(), stored)


def test_defaults_that_the_server_drops_are_no_difference():
    stored = deployment()
    pod = stored["spec"]["template"]["spec"]
    for dropped in ("hostNetwork", "hostPID", "hostIPC"):
        del pod[dropped]

    assert contained(deployment(), stored)


@pytest.mark.parametrize(
    "other",
    [
        "2",
        "1001m",
        "1k",
        "",
        "one",
        "--1",
        None,
        "9" * 32,
        "1e999999999",
        "1e-999999999",
        "1e1000000",
        "1e9999999999999",
    ],
)
def test_another_quantity_is_a_difference(other):
    stored = deployment()
    server_of(stored)["resources"]["limits"]["cpu"] = other

    assert not contained(deployment(), stored)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1000m", "1"),
        ("1Gi", "1024Mi"),
        ("1024Ki", "1Mi"),
        ("1500m", "1.5"),
        ("1k", "1e3"),
        ("1E", "1000P"),
        ("0.5Gi", "512Mi"),
    ],
)
def test_every_way_to_write_a_quantity_is_understood(one, other):
    assert contained({"limits": {"memory": one}}, {"limits": {"memory": other}})


def test_every_single_place_that_drifts_is_seen():
    rendered = deployment()
    paths = list(paths_in(rendered))
    assert len(paths) > 100

    for path in paths:
        stored = copy.deepcopy(rendered)
        parent = stored
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = "drifted"

        assert not contained(rendered, stored), path


def egress(*rules):
    return {"spec": {"egress": list(rules)}}


def ports(*numbers):
    return {"spec": {"ports": [{"port": each, "protocol": "TCP"} for each in numbers]}}


DNS = {"ports": [{"port": 53}]}
SELECTED = {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}


@pytest.mark.parametrize(
    ("rendered", "stored", "same"),
    [
        ({"maxUnavailable": 0}, {}, False),  # zero says something
        (SELECTED, {"spec": {"podSelector": {"matchLabels": {"a": "b", "c": "d"}}}}, False),
        (egress(DNS), egress(DNS, {}), False),
        (egress(DNS), egress({"ports": [{"port": 53}, {"port": 80}]}), False),
        (egress(DNS), egress({**DNS, "to": [{"podSelector": {"x": "y"}}]}), False),
        (ports(1), ports(2, 1), True),  # a port is found by number and protocol
        (ports(1), ports(2), False),
    ],
)
def test_what_somebody_adds_is_a_difference_where_it_changes_the_meaning(rendered, stored, same):
    assert contained(rendered, stored) is same


@pytest.mark.parametrize("strange", ["text", 3, [], {}, ["x"], {"spec": []}, {"spec": "x"}])
def test_strange_objects_are_just_different(strange):
    assert not contained(deployment(), strange)


DATA = {"f:data": {"f:kept": {}, "f:gone": {}}}
ENTRY = {"f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}}


@pytest.mark.parametrize(
    ("rendered", "fields", "who", "left"),
    [
        ({"data": {"kept": "1"}}, DATA, ("lumen-operator",), True),
        ({"data": {"kept": "1", "gone": "2"}}, DATA, ("lumen-operator",), False),
        ({"env": [{"name": "B", "value": ""}]}, ENTRY, ("lumen-operator",), True),
        ({"env": [{"name": "A", "value": ""}]}, ENTRY, ("lumen-operator",), False),
        ({"data": {"kept": "1"}}, DATA, ("kubectl",), False),
        ({"data": {"kept": "1"}}, DATA, ("lumen-operator", "Update"), False),
    ],
)
def test_what_we_applied_and_render_no_more_is_left_over(rendered, fields, who, left):
    manager, *operation = who

    assert has_leftovers(rendered, owned(manager, fields, *operation)) is left


REPLICAS = {"spec": {"replicas": 1}}
SCALES = {"f:spec": {"f:replicas": {}, "f:paused": {}}}
IMAGE = {"f:spec": {"f:containers": {'k:{"name":"server"}': {"f:image": {}}}}}


@pytest.mark.parametrize(
    ("rendered", "entry", "field"),
    [
        (REPLICAS, owned("argocd", SCALES), "spec.replicas"),
        (
            {"spec": {"containers": [{"name": "server", "image": "x"}]}},
            owned("argocd", IMAGE),
            "spec.containers[server].image",
        ),
        ({"spec": {}}, owned("argocd", SCALES), None),
        (REPLICAS, owned("argocd", SCALES, "Update"), None),
        (REPLICAS, owned("argocd", SCALES, subresource="status"), None),
        (REPLICAS, owned("lumen-operator", SCALES), None),
    ],
)
def test_another_manager_that_applies_a_field_of_ours_is_named(rendered, entry, field):
    assert rival_of(rendered, entry) == (Rival("argocd", field) if field else None)


@pytest.mark.parametrize("strange", [{"k:nonsense": {}}, {"v:[": {}}, {"x": 3}, {"": {"": {}}}])
def test_strange_field_sets_raise_nothing(strange):
    rival_of({"spec": {}}, owned("argocd", {"f:spec": strange}))
    has_leftovers({"spec": {}}, owned("lumen-operator", {"f:spec": strange}))
