"""When is an apply skipped?"""

import copy
import json

import pytest

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


def test_every_single_leaf_that_drifts_is_seen():
    rendered = deployment()
    leaves = list(_paths(rendered))
    assert len(leaves) > 100

    for path in leaves:
        stored = copy.deepcopy(rendered)
        parent = stored
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = "drifted"

        assert not contained(rendered, stored), path


def _paths(value, path=()):
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        if isinstance(each, dict | list):
            yield from _paths(each, (*path, key))
        else:
            yield (*path, key)


def test_zero_differs_from_absent():
    assert not contained({"maxUnavailable": 0}, {})


def test_a_selector_with_a_further_label_is_a_difference():
    mine = {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}
    theirs = {"spec": {"podSelector": {"matchLabels": {"a": "b", "c": "d"}}}}

    assert not contained(mine, theirs)


def test_a_rule_that_somebody_adds_to_a_policy_is_a_difference():
    mine = {"spec": {"egress": [{"ports": [{"port": 53}]}]}}

    assert not contained(mine, {"spec": {"egress": [{"ports": [{"port": 53}]}, {}]}})
    assert not contained(mine, {"spec": {"egress": [{"ports": [{"port": 53}, {"port": 80}]}]}})
    assert not contained(
        mine, {"spec": {"egress": [{"ports": [{"port": 53}], "to": [{"podSelector": {"x": "y"}}]}]}}
    )


def test_a_port_is_found_by_number_and_protocol():
    mine = {"spec": {"ports": [{"port": 1, "protocol": "TCP", "name": "a"}]}}
    other = {"port": 2, "protocol": "TCP", "name": "b"}

    assert contained(mine, {"spec": {"ports": [other, *mine["spec"]["ports"]]}})
    assert not contained(mine, {"spec": {"ports": [other]}})


@pytest.mark.parametrize("strange", ["text", 3, [], {}, ["x"], {"spec": []}, {"spec": "x"}])
def test_strange_objects_are_just_different(strange):
    assert not contained(deployment(), strange)


def test_a_field_that_we_applied_and_render_no_more_is_left_over():
    fields = {"f:data": {"f:kept": {}, "f:gone": {}}}

    assert has_leftovers({"data": {"kept": "1"}}, owned("lumen-operator", fields))
    assert not has_leftovers({"data": {"kept": "1", "gone": "2"}}, owned("lumen-operator", fields))


def test_a_list_entry_that_we_applied_and_render_no_more_is_left_over():
    fields = {"f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}}

    assert not has_leftovers({"env": [{"name": "A", "value": ""}]}, owned("lumen-operator", fields))
    assert has_leftovers({"env": [{"name": "B", "value": ""}]}, owned("lumen-operator", fields))


def test_fields_of_others_are_not_left_over():
    fields = {"f:data": {"f:theirs": {}}}

    assert not has_leftovers({"data": {}}, owned("kubectl", fields))
    assert not has_leftovers({"data": {}}, owned("lumen-operator", fields, "Update"))


def test_another_manager_that_applies_a_field_of_ours_is_named():
    fields = {"f:spec": {"f:replicas": {}, "f:paused": {}}}

    found = rival_of({"spec": {"replicas": 1}}, owned("argocd", fields))

    assert found == Rival("argocd", "spec.replicas")


def test_the_field_is_named_through_lists():
    fields = {"f:spec": {"f:containers": {'k:{"name":"server"}': {"f:image": {}}}}}
    rendered = {"spec": {"containers": [{"name": "server", "image": "x"}]}}

    assert rival_of(rendered, owned("ci", fields)) == Rival("ci", "spec.containers[server].image")


def test_updates_and_fields_of_their_own_are_no_rivalry():
    fields = {"f:spec": {"f:replicas": {}}}
    rendered = {"spec": {"replicas": 1}}

    assert rival_of(rendered, owned("kubectl-edit", fields, "Update")) is None
    assert rival_of({"spec": {}}, owned("argocd", fields)) is None
    assert rival_of(rendered, owned("controller", fields, subresource="status")) is None
    assert rival_of(rendered, owned("lumen-operator", fields)) is None


@pytest.mark.parametrize("strange", [{"k:nonsense": {}}, {"v:[": {}}, {"x": 3}, {"": {"": {}}}])
def test_strange_field_sets_raise_nothing(strange):
    rival_of({"spec": {}}, owned("argocd", {"f:spec": strange}))
    has_leftovers({"spec": {}}, owned("lumen-operator", {"f:spec": strange}))
