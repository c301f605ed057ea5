import pytest
from cluster_objects import ScriptedApi

from lumen_cluster.errors import ApiUnavailable, Conflict, ObjectNotFound
from lumen_cluster.kinds import DEPLOYMENTS, NODES, PODS, Ref, collection_path, object_path
from lumen_cluster.writer import ClusterWriter
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.observe.kinds import POOLS, SERVICES, WRITTEN_KINDS

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "clip-stable", "namespace": "team"},
}


def test_paths_are_those_of_core_and_of_groups_namespaced_and_not():
    assert collection_path(PODS, "") == "/api/v1/pods"
    assert collection_path(DEPLOYMENTS, "team") == "/apis/apps/v1/namespaces/team/deployments"
    assert object_path(NODES, "", "n1") == "/api/v1/nodes/n1"
    assert object_path(POOLS, "", "cpu") == "/apis/lumen.dev/v1alpha1/lumennodepools/cpu"


def a_writer(calls):
    return ClusterWriter(calls, FIELD_MANAGER, WRITTEN_KINDS)


async def test_children_are_applied_with_force_by_the_operators_field_manager():
    calls = ScriptedApi()
    await a_writer(calls).apply(DEPLOYMENT, "u1")
    (made,) = calls.made

    assert str(made) == "PATCH /apis/apps/v1/namespaces/team/deployments/clip-stable"
    assert made.query == {"fieldManager": "lumen-operator", "force": "true"}
    assert made.content_type == "application/apply-patch+yaml"
    assert made.body == DEPLOYMENT | {"metadata": DEPLOYMENT["metadata"] | {"uid": "u1"}}


async def test_a_new_child_is_one_that_nobody_has_made_meanwhile():
    calls = ScriptedApi()
    await a_writer(calls).apply(DEPLOYMENT, "")
    (made,) = calls.made

    assert made.body["metadata"] == DEPLOYMENT["metadata"] | {"resourceVersion": "1"}


async def test_an_object_is_read_by_its_name_whatever_its_labels():
    calls = ScriptedApi({"metadata": {"uid": "u1"}}, ObjectNotFound("gone", status=404))

    assert await a_writer(calls).read(DEPLOYMENTS, "team", "clip") == {"metadata": {"uid": "u1"}}
    assert await a_writer(calls).read(DEPLOYMENTS, "team", "clip") is None
    assert str(calls.made[0]) == "GET /apis/apps/v1/namespaces/team/deployments/clip"


async def test_a_status_replaces_that_of_the_object_that_was_observed_and_of_no_other():
    calls = ScriptedApi()
    raw = {"metadata": {"name": "clip", "namespace": "team", "uid": "u1"}, "spec": {"a": 1}}
    await a_writer(calls).write_status(SERVICES, raw, {"ready": "1/1"})
    (made,) = calls.made

    assert made.path.endswith("/namespaces/team/lumenmodelservices/clip/status")
    assert made.body == [
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "add", "path": "/status", "value": {"ready": "1/1"}},
    ]


async def test_what_is_gone_needs_no_status():
    raw = {"metadata": {"name": "clip", "namespace": "team", "uid": "u1"}}
    assert (
        await a_writer(ScriptedApi(ObjectNotFound("gone", status=404))).write_status(
            SERVICES, raw, {}
        )
        is None
    )


@pytest.mark.parametrize(
    "answer", [ObjectNotFound("gone", status=404), Conflict("uid", status=409)]
)
async def test_what_is_gone_needs_no_deletion(answer):
    await a_writer(ScriptedApi(answer)).delete(Ref("configmaps", "team", "clip-1", "u2"))


async def test_only_the_object_that_was_meant_is_deleted():
    calls = ScriptedApi()
    await a_writer(calls).delete(Ref("configmaps", "team", "clip-1", "u2"))
    (made,) = calls.made

    assert str(made) == "DELETE /api/v1/namespaces/team/configmaps/clip-1"
    assert made.body["preconditions"] == {"uid": "u2"}


async def test_a_pool_that_exists_is_left_alone_and_another_failure_is_told():
    pool = {"apiVersion": "lumen.dev/v1alpha1", "kind": "LumenNodePool", "metadata": {"name": "x"}}
    await a_writer(ScriptedApi(Conflict("exists", status=409))).create(POOLS, pool)
    with pytest.raises(ApiUnavailable):
        await a_writer(ScriptedApi(ApiUnavailable("500"))).create(POOLS, pool)
