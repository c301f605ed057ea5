"""One object that nobody can read is left out alone, by operator and router, whoever let it in."""

import pytest
from controlplane.cluster import unique_name
from operator_lab import operator_lab
from router_in_cluster import Lab, a_cluster_world
from router_world import ScriptedPod
from strange_objects import (
    DEEP,
    POOLS,
    SERVICES,
    accepted,
    permissive_crds,
    post,
    post_revision,
    post_services,
    restore_crds,
)

_MODEL = '"family":"clip","pool":"cpu","model":{"name":"some","runtime":"onnx"}'


@pytest.mark.parametrize(
    "field",
    ['"affinity":7', '"affinity":[]', '"tolerations":{}', '"labels":{"a":{}}', '"nodeSelector":""'],
)
def test_a_value_of_a_wrong_type_is_refused(control_plane, namespace, field):
    spec = f'{{{_MODEL},"podTemplate":{{{field}}}}}'

    answer = post(control_plane, SERVICES.format(namespace), "LumenModelService", "odd", spec)

    assert answer.status_code == 422
    assert "spec.podTemplate" in answer.json()["message"]


def test_an_affinity_that_is_nested_deeply_is_refused_and_never_stored(control_plane, namespace):
    spec = f'{{{_MODEL},"podTemplate":{{"affinity":{DEEP}}}}}'
    path = SERVICES.format(namespace)

    strict = post(
        control_plane, f"{path}?fieldValidation=Strict", "LumenModelService", "deep", spec
    )
    lax = post(control_plane, path, "LumenModelService", "deep", spec)

    assert strict.status_code == 400
    assert lax.json()["spec"]["podTemplate"]["affinity"] == {}


def test_a_spec_that_is_large_within_every_fields_bound_is_refused(control_plane, namespace):
    values = ",".join(f'{{"name":"E{n}","value":"{"é" * 4096}"}}' for n in range(10))
    spec = f'{{{_MODEL},"server":{{"env":[{values}]}}}}'

    answer = post(control_plane, SERVICES.format(namespace), "LumenModelService", "large", spec)

    assert answer.status_code == 422
    assert "the spec is larger than 64 KiB" in answer.json()["message"]


def test_the_operator_leaves_out_alone_what_a_lax_crd_let_in(private_control_plane, tmp_path):
    plane = private_control_plane
    with permissive_crds(plane), operator_lab(plane, tmp_path) as lab:
        before = post_services(plane, lab.namespace)
        post(plane, POOLS, "LumenNodePool", "deep", f'{{"tolerations":{DEEP}}}').raise_for_status()
        post_revision(plane, lab.namespace, "odd", "clip")

        operator = lab.running()
        lab.serve("clip")
        lab.wait_ready("clip")
        later = post_services(plane, lab.namespace, "later-")
        for name in (*before, *later):
            lab.wait_until(
                lambda name=name: accepted(plane, lab.namespace, name)[0] == "InvalidSpec",
                f"{name} is said to be invalid",
            )
        lab.serve("second")
        lab.wait_ready("second")

        _, said = accepted(plane, lab.namespace, "deep")
        assert said.startswith("spec.podTemplate.affinity.a.a.a: nested deeper than 40 levels")
        assert operator.total("watch_left_out") >= 2

        restore_crds(plane)
        lab.serve("third")
        lab.wait_ready("third")
        assert operator.process.running
        plane.delete(f"{POOLS}/deep")


async def test_the_router_leaves_out_alone_what_a_lax_crd_let_in(private_control_plane):
    plane, pod, other = private_control_plane, ScriptedPod(), ScriptedPod()
    lab = Lab(plane, unique_name("lab"))
    plane.create_namespace(lab.namespace)
    with permissive_crds(plane):
        post_services(plane, lab.namespace)
        async with a_cluster_world(lab, pod, other) as world:
            await world.do(lab.serve, default=True)
            await world.listed(pod)
            await world.do(post_services, plane, lab.namespace, "later-")
            await world.listed(pod, other)

            await world.infer("image_embed")
            assert world.metric("lumen_router_objects_unusable") >= 2
            assert world.metric("lumen_router_watch_ends_total", end="expired") in {None, 0}
