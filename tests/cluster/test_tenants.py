"""What somebody who may write one namespace can do to another: nothing.

On a real API server with the chart's rights, the operator being that of the whole cluster.
"""

import json
import threading

import pytest
from controlplane.cluster import unique_name
from operator_lab import grant, operator_lab, path_of

from lumen_cluster.kinds import CONFIG_MAPS, PODS, REPLICA_SETS, REVISIONS, collection_path

CROWD = 200
CONTROL = "\x1b[2J\x07\u202e" * 200
DEEP = '{"a":' * 900 + "1" + "}" * 900
LARGEST = 2**63 - 1


@pytest.fixture(scope="module")
def lab(private_control_plane, tmp_path_factory):
    with operator_lab(private_control_plane, tmp_path_factory.mktemp("tenants")) as found:
        grant(private_control_plane, found.namespace, found.folder, everywhere=True)
        found.running(LUMEN_WATCH_NAMESPACE="")
        found.serve("settled")
        found.wait_ready("settled")
        yield found
        assert found.proxy.forbidden == [], "the chart's rights are not enough"


@pytest.fixture
def tenant(lab):
    """A namespace of somebody else's."""
    name = unique_name("tenant")
    lab.plane.create_namespace(name)
    yield name
    # What is written into a namespace that ends is forbidden: his services go before it.
    for each in lab.plane.get(services(name))["items"]:
        lab.plane.delete(services(name, each["metadata"]["name"]))
    lab.plane.delete(f"/api/v1/namespaces/{name}")


def a_service(lab, namespace, name, **spec):
    document = lab.a_service(name, **spec)
    document["metadata"]["namespace"] = namespace
    return document


def services(namespace, name=""):
    return path_of("lumenmodelservices", namespace, name)


def said(lab, namespace):
    """Return what is said of each service of a namespace: its reason, empty when it is Ready."""
    listed = lab.plane.get(services(namespace))["items"]
    told = ((each["metadata"]["name"], each.get("status", {})) for each in listed)
    return {name: status.get("reason", "") for name, status in told if status.get("conditions")}


def bugs(lab):
    return lab.operators[-1].figures().get('lumen_operator_errors_total{reason="bug"}', 0)


def test_a_storm_of_services_lets_another_namespaces_new_one_through(lab, tenant):
    def storm():
        for number in range(CROWD):
            crowd = a_service(lab, tenant, f"crowd-{number}", default=True)
            lab.plane.create(services(tenant), crowd)

    storming = threading.Thread(target=storm)
    storming.start()
    lab.wait_until(lambda: len(said(lab, tenant)) >= 5, "the storm is on")
    lab.serve("new")
    lab.wait_ready("new")
    served = sum(not reason for reason in said(lab, tenant).values())
    storming.join()

    assert served < CROWD, "the new one did not wait for the crowd"
    assert lab.condition("Ready", "settled") == ("True", "Ready")
    assert bugs(lab) == 0


def test_services_whose_names_end_as_childrens_do_share_no_child(lab, tenant):
    names = ["a", "a-stable", "a-lumen", "a-pins", "a-stable-lumen", "n" * 50]
    for name in names:
        lab.plane.create(services(tenant), a_service(lab, tenant, name))

    lab.wait_until(lambda: said(lab, tenant) == dict.fromkeys(names, ""), "all of them are Ready")


def forged(namespace):
    """Yield path and body of everyday objects that claim to be of the service `mine`."""
    labels = {"lumen.dev/service": "mine", "pod-template-hash": "forged", "lumen.dev/revision": "x"}
    meta = {"namespace": namespace, "labels": labels}
    pod = {"containers": [{"name": "server", "image": "web.example/web:1"}]}
    labelled = {"matchLabels": {"app": "x"}}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": pod}
    bodies = {
        PODS: {"spec": pod},
        REVISIONS: {
            "revision": LARGEST,
            "data": {"spec": {"family": [], "pool": {"deep": DEEP}}},
        },
        CONFIG_MAPS: {"data": {"revision": "x" * 900_000, "model": CONTROL}},
        REPLICA_SETS: {"spec": {"replicas": 0, "selector": labelled, "template": template}},
    }
    for kind, rest in bodies.items():
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        body = {**head, "metadata": {"name": "mine-pins-forged", **meta}, **rest}
        yield collection_path(kind, namespace), body


def test_objects_that_claim_to_be_of_a_service_hold_up_nothing(lab, tenant):
    for path, body in forged(tenant):
        lab.plane.create(path, body)
    ended = {"exitCode": 1, "reason": "Error", "message": CONTROL[:2048] + DEEP[:2048]}
    state = {"name": "resources", "restartCount": 2**31 - 1, "state": {"terminated": ended}}
    words = {**state, "image": "x", "imageID": "x", "ready": False, "lastState": {}}
    status = {"status": {"phase": "Pending", "message": CONTROL, "initContainerStatuses": [words]}}
    lab.plane.http.patch(
        f"/api/v1/namespaces/{tenant}/pods/mine-pins-forged/status",
        content=json.dumps(status),
        headers={"Content-Type": "application/merge-patch+json"},
    ).raise_for_status()
    lab.plane.create(services(tenant), a_service(lab, tenant, "mine"))

    lab.wait_until(lambda: said(lab, tenant).get("mine") == "", "it is Ready all the same")
    assert lab.condition("Ready", "settled") == ("True", "Ready")
    assert bugs(lab) == 0


@pytest.mark.parametrize("field", ["resources", "podTemplate"])
def test_a_key_that_is_no_name_is_said_to_be_invalid(lab, tenant, field):
    odd = {"\U0001f980": "1"}
    spec = {field: {"limits" if field == "resources" else "annotations": odd}}
    lab.plane.create(services(tenant), a_service(lab, tenant, "odd", **spec))

    lab.wait_until(lambda: said(lab, tenant).get("odd") == "InvalidSpec", "it is InvalidSpec")
    assert bugs(lab) == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"resources": {"limits": {"cpu": "1e999999999"}}},
        {"podTemplate": {"labels": {"lumen.dev/service": "settled"}}},
        {"podTemplate": {"labels": {"app.kubernetes.io/component": "router"}}},
        {"podTemplate": {"annotations": {"note": "x" * 5000}}},
        {"server": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}},
        {"server": {"env": [{"name": "LUMEN_CONFIG", "value": "/proc/self/environ"}]}},
        {"cache": {"type": "hostPath", "path": "/"}},
    ],
    ids=lambda spec: json.dumps(spec)[:60],
)
def test_what_is_not_his_to_set_is_refused_by_the_api_server(lab, tenant, spec):
    answer = lab.plane.http.post(
        services(tenant),
        json=a_service(lab, tenant, "odd", **spec),
        params={"fieldValidation": "Strict"},
    )

    assert answer.status_code in {400, 422}, answer.text
