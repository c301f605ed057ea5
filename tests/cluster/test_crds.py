"""The CRDs as a user of kubectl meets them: on a real API server, not as we read them.

That people and autoscalers scale services is tried with an operator: test_operator_autoscaling.py.
"""

import json
import re
from pathlib import Path

import pytest
import yaml
from cluster_objects import a_pool, a_service
from controlplane.cluster import Cluster, KubectlFailed, unique_name

from lumen_manifest.node_pool import default_pools
from lumen_manifest.reading.parse import parse_object, parse_text

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = sorted((ROOT / "examples").glob("*.yaml"))
SERVICES = "/apis/lumen.dev/v1alpha1/namespaces/{}/lumenmodelservices"
POOLS = "/apis/lumen.dev/v1alpha1/lumennodepools"


def documents_of(path: Path) -> list[dict]:
    """Return the manifests of our kinds in a YAML file, or in the blocks of a page."""
    text = path.read_text()
    texts = [text]
    if path.suffix == ".md":
        texts = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        document
        for each in texts
        if "kind: Lumen" in each
        for document in yaml.safe_load_all(each)
        if str(document.get("apiVersion", "")).startswith("lumen.dev/")
    ]


PUBLISHED = [path for path in (*FILES, *PAGES) if documents_of(path)]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_published_manifest_is_accepted_as_it_stands(control_plane, namespace, path):
    for document in documents_of(path):
        said = control_plane.kubectl(
            "apply", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-",
            stdin=yaml.safe_dump(document),
        )  # fmt: skip

        assert said.endswith("created (server dry run)\n")


def test_all_examples_were_looked_at():
    assert [path for path in FILES if path not in PUBLISHED] == []
    assert len(FILES) >= 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_the_server_stores_means_what_was_written(control_plane, namespace, path):
    """The defaults of the schema are those of the models."""
    for document, written in zip(
        documents_of(path), parse_text(path.read_text(), path.name), strict=True
    ):
        document["metadata"]["namespace"] = namespace
        stored = control_plane.http.post(
            SERVICES.format(namespace), json=document, params={"dryRun": "All"}
        ).json()

        assert parse_object(stored).spec == written.spec


def test_the_default_pools_are_accepted(control_plane):
    for pool in default_pools():
        document = pool.model_dump(mode="json", by_alias=True, exclude_none=True)
        document["metadata"]["name"] = unique_name("pool")

        stored = control_plane.http.post(POOLS, json=document, params={"dryRun": "All"}).json()

        assert parse_object(stored).spec == pool.spec


def test_a_misspelt_field_is_refused_by_name(control_plane, namespace):
    wanted = a_service()
    wanted["spec"]["replica"] = 2

    with pytest.raises(KubectlFailed, match=r'unknown field "spec\.replica"'):
        control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(wanted))


def test_short_names_and_the_category_find_both_kinds(control_plane, namespace):
    created(control_plane, namespace, a_service())
    pool = unique_name("pool")
    control_plane.create(POOLS, a_pool(pool))

    def names(*what: str) -> list[str]:
        return control_plane.kubectl("get", *what, "-n", namespace, "-o", "name").split()

    assert names("lms") == ["lumenmodelservice.lumen.dev/clip"]
    assert f"lumennodepool.lumen.dev/{pool}" in names("lnp")
    assert {"lumenmodelservice.lumen.dev/clip", f"lumennodepool.lumen.dev/{pool}"} <= set(
        names("lumen")
    )
    control_plane.delete(f"{POOLS}/{pool}")


def test_status_and_spec_are_written_apart(control_plane, namespace):
    path = created(control_plane, namespace, a_service())

    control_plane.patch(path, {"status": {"endpoint": "elsewhere"}})
    stored = control_plane.patch(
        f"{path}/status", {"spec": {"replicas": 9}, "status": {"ready": "1/1"}}
    )

    assert stored["status"] == {"ready": "1/1"}
    assert stored["spec"]["replicas"] == 1
    assert stored["metadata"]["generation"] == 1


def test_kubectl_get_shows_what_matters_of_a_service(control_plane, namespace):
    path = created(control_plane, namespace, a_service())
    status = {
        "conditions": [{"type": "Ready", "status": "False", "reason": "Fetching"}],
        "ready": "0/1",
        "reason": "Fetching",
        "endpoint": "lumen-router.lumen:50051",
    }
    control_plane.patch(f"{path}/status", {"status": status})

    header, row = control_plane.kubectl("get", "lms", "-n", namespace).splitlines()
    assert header.split() == [
        "NAME", "FAMILY", "MODEL", "RUNTIME", "POOL", "READY", "REPLICAS", "REASON", "AGE",
    ]  # fmt: skip
    assert row.split()[:8] == [
        "clip", "clip", "MobileCLIP2-S2", "onnx", "cpu", "False", "0/1", "Fetching",
    ]  # fmt: skip
    wide = control_plane.kubectl("get", "lms", "-n", namespace, "-o", "wide")
    assert "lumen-router.lumen:50051" in wide


def test_kubectl_get_shows_what_is_free_of_a_pool(private_control_plane):
    control_plane = private_control_plane  # operators of other tests count pools
    name = unique_name("pool")
    path = f"{POOLS}/{name}"
    device = {"resource": "nvidia.com/gpu"}
    control_plane.create(POOLS, a_pool(name, accelerator="cuda", device=device))
    counts = {"allocatable": 2, "allocated": 1}
    control_plane.patch(
        f"{path}/status", {"status": {"nodes": 2, "devices": counts, "devicesFree": "1/2"}}
    )

    header, row = control_plane.kubectl("get", "lnp", name).splitlines()

    assert re.split(r"\s{2,}", header)[:4] == ["NAME", "ACCELERATOR", "NODES", "DEVICES FREE"]
    assert row.split()[:4] == [name, "cuda", "2", "1/2"]
    control_plane.delete(path)


@pytest.mark.parametrize("kind", ["LumenModelService", "LumenNodePool"])
def test_kubectl_explain_has_a_text_for_every_field(control_plane, kind):
    served = control_plane.get("/openapi/v3/apis/lumen.dev/v1alpha1")
    schema = served["components"]["schemas"][f"dev.lumen.v1alpha1.{kind}"]
    fields = dict(fields_of(schema, ()))

    assert len(fields) > 20
    assert [path for path, text in fields.items() if not text] == []


def fields_of(schema: dict, path: tuple[str, ...]):
    """Yield the path of each field that we declare, and its text."""
    for name, field in schema.get("properties", {}).items():
        if path or name != "metadata":  # whose fields are Kubernetes' own
            yield ".".join((*path, name)), field.get("description", "")
            yield from fields_of(field, (*path, name))
    if "items" in schema:
        yield from fields_of(schema["items"], path)


def created(cluster: Cluster, namespace: str, document: dict) -> str:
    """Create a service and return its path."""
    cluster.create(SERVICES.format(namespace), document)
    return f"{SERVICES.format(namespace)}/{document['metadata']['name']}"
