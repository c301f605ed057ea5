"""Objects as an older or foreign CRD let them in, and how they come into a real API server."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import httpx
import yaml
from controlplane.cluster import Cluster
from controlplane.plane import CRDS
from controlplane.programs import wait_until

from lumen_cluster.json_bodies import read_json

GROUP = "/apis/lumen.dev/v1alpha1"
SERVICES = GROUP + "/namespaces/{}/lumenmodelservices"
POOLS = f"{GROUP}/lumennodepools"
REVISIONS = "/apis/apps/v1/namespaces/{}/controllerrevisions"
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


def post(plane: Cluster, path: str, kind: str, name: str, spec: str) -> httpx.Response:
    """Create an object whose spec is JSON text: Python's own writer stumbles over some."""
    head = f'"apiVersion":"lumen.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"{name}"}}'
    body = f'{{{head},"spec":{spec}}}'
    return plane.http.post(path, content=body, headers={"Content-Type": "application/json"})


def post_services(plane: Cluster, namespace: str, prefix: str = "") -> list[str]:
    """Create a service with each of the strange specs; return their names."""
    path = SERVICES.format(namespace)
    names = [f"{prefix}{name}" for name in STRANGE_SPECS]
    for name, spec in zip(names, STRANGE_SPECS.values(), strict=True):
        post(plane, path, "LumenModelService", name, spec).raise_for_status()
    return names


def accepted(plane: Cluster, namespace: str, name: str) -> tuple[str, str]:
    """Return the reason and the message of a service's condition Accepted, empty before it."""
    path = f"{SERVICES.format(namespace)}/{name}"
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
    path, headers = REVISIONS.format(namespace), {"Content-Type": "application/json"}
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
    crd = deepcopy(yaml.safe_load(path.read_text()))
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
        post(plane, f"{SERVICES.format('default')}?dryRun=All", "LumenModelService", "try", '"x"'),
        post(plane, f"{POOLS}?dryRun=All", "LumenNodePool", "try", '"x"'),
    )
    return all(answer.is_success for answer in tried)
