"""One object that nobody can read is left out alone, by operator and router, whoever let it in.

An older or foreign CRD lets them in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import yaml
from controlplane.cluster import Cluster, unique_name
from controlplane.plane import CRDS
from controlplane.programs import wait_until
from operator_lab import operator_lab, path_of
from router_in_cluster import Lab, a_cluster_world
from router_world import ScriptedPod

from lumen_cluster.json_bodies import read_json

SERVICE, POOL = "LumenModelService", "LumenNodePool"
POOLS = path_of("lumennodepools")
DEPTH = 2_000
DEEP = '{"a":' * DEPTH + "1" + "}" * DEPTH
_MODEL = '"family":"clip","pool":"cpu","model":{"name":"some","runtime":"onnx"}'

STRANGE_SPECS = {
    "deep": f'{{{_MODEL},"podTemplate":{{"affinity":{DEEP}}}}}',
    "deep-enough": f'{{{_MODEL},"podTemplate":{{"affinity":{"[" * 150}{"]" * 150}}}}}',
    "huge": f'{{{_MODEL},"notes":"{"x" * 700_000}"}}',
    "text": '"text"',
    "list": "[[],[null],7]",
    "number": f'{{{_MODEL},"replicas":{10**30}}}',
    "wrong-types": '{"family":{},"pool":[],"model":"none","aliases":7,"scenes":[],"labelSets":{}}',
    "unicode": f'{{{_MODEL},"aliases":["\\u0000\\u202e\\ud83d\\ude00"]}}',
}
"""By name: each makes some reader of JSON, of types or of sizes stumble."""


@pytest.mark.parametrize(
    "field",
    ['"affinity":7', '"affinity":[]', '"tolerations":{}', '"labels":{"a":{}}', '"nodeSelector":""'],
)
def test_a_value_of_a_wrong_type_is_refused(control_plane, namespace, field):
    spec = f'{{{_MODEL},"podTemplate":{{{field}}}}}'

    answer = post(control_plane, path_of("lumenmodelservices", namespace), SERVICE, "odd", spec)

    assert answer.status_code == 422
    assert "spec.podTemplate" in answer.json()["message"]


def test_an_affinity_that_is_nested_deeply_is_refused_and_never_stored(control_plane, namespace):
    spec = f'{{{_MODEL},"podTemplate":{{"affinity":{DEEP}}}}}'
    path = path_of("lumenmodelservices", namespace)

    strict = post(control_plane, f"{path}?fieldValidation=Strict", SERVICE, "deep", spec)
    lax = post(control_plane, path, SERVICE, "deep", spec)

    assert strict.status_code == 400
    assert lax.json()["spec"]["podTemplate"]["affinity"] == {}


def test_a_spec_that_is_large_within_every_fields_bound_is_refused(control_plane, namespace):
    values = ",".join(f'{{"name":"E{n}","value":"{"é" * 4096}"}}' for n in range(10))
    spec = f'{{{_MODEL},"server":{{"env":[{values}]}}}}'

    answer = post(control_plane, path_of("lumenmodelservices", namespace), SERVICE, "large", spec)

    assert answer.status_code == 422
    assert "the spec is larger than 64 KiB" in answer.json()["message"]


def test_the_operator_leaves_out_alone_what_a_lax_crd_let_in(private_control_plane, tmp_path):
    plane = private_control_plane
    with permissive_crds(plane), operator_lab(plane, tmp_path) as lab:
        before = post_services(plane, lab.namespace)
        post(plane, POOLS, POOL, "deep", f'{{"tolerations":{DEEP}}}').raise_for_status()
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


def post(plane: Cluster, path: str, kind: str, name: str, spec: str) -> httpx.Response:
    """Create an object whose spec is JSON text: Python's own writer stumbles over some."""
    head = f'"apiVersion":"lumen.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"{name}"}}'
    body = f'{{{head},"spec":{spec}}}'
    return plane.http.post(path, content=body, headers={"Content-Type": "application/json"})


def post_services(plane: Cluster, namespace: str, prefix: str = "") -> list[str]:
    """Create a service with each of the strange specs; return their names."""
    path = path_of("lumenmodelservices", namespace)
    names = [f"{prefix}{name}" for name in STRANGE_SPECS]
    for name, spec in zip(names, STRANGE_SPECS.values(), strict=True):
        post(plane, path, SERVICE, name, spec).raise_for_status()
    return names


def accepted(plane: Cluster, namespace: str, name: str) -> tuple[str, str]:
    """Return the reason and the message of a service's condition Accepted, empty before it."""
    path = path_of("lumenmodelservices", namespace, name)
    found = read_json(plane.http.get(path).raise_for_status().content)
    for each in found.get("status", {}).get("conditions", ()):
        if each["type"] == "Accepted":
            return each["reason"], each["message"]
    return "", ""


def post_revision(plane: Cluster, namespace: str, name: str, service: str) -> None:
    """Create a ControllerRevision with a service's label and deep data: its data may be any."""
    body = (
        f'{{"apiVersion":"apps/v1","kind":"ControllerRevision","revision":7,"data":{DEEP},'
        f'"metadata":{{"name":"{name}","labels":{{"lumen.dev/service":"{service}"}}}}}}'
    )
    path = path_of("controllerrevisions", namespace)
    headers = {"Content-Type": "application/json"}
    plane.http.post(path, content=body, headers=headers).raise_for_status()


@contextmanager
def permissive_crds(plane: Cluster) -> Iterator[None]:
    """Let the API server take any spec and any status, and put things right afterwards."""
    for path in CRDS.glob("*.yaml"):
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_lax(path))
    wait_until(lambda: _takes_any(plane), 30.0, "the API server takes any spec")
    try:
        yield
    finally:
        restore_crds(plane)


def restore_crds(plane: Cluster) -> None:
    """Install our CRDs, and return once the API server goes by them."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    wait_until(lambda: not _takes_any(plane), 30.0, "the API server goes by our CRDs")


def _lax(path: Any) -> str:
    crd = yaml.safe_load(path.read_text())
    free = {"x-kubernetes-preserve-unknown-fields": True}
    (version,) = crd["spec"]["versions"]
    version["subresources"] = {"status": {}}  # scale would look into the spec
    version["schema"]["openAPIV3Schema"] = {
        "type": "object",
        "properties": {"spec": free, "status": {"type": "object", **free}},
    }
    return str(yaml.safe_dump(crd))


def _takes_any(plane: Cluster) -> bool:
    """Try both kinds without storing anything."""
    tried = (
        post(
            plane, f"{path_of('lumenmodelservices', 'default')}?dryRun=All", SERVICE, "try", '"x"'
        ),
        post(plane, f"{POOLS}?dryRun=All", POOL, "try", '"x"'),
    )
    return all(answer.is_success for answer in tried)
