"""What somebody else made has the name of a child: it stays, whatever the service does.

On a real API server with the chart's rights: before the first write, at each later one, and when
the service goes.
"""

import json

import pytest
from operator_lab import KINDS, operator_lab

NAMES = {
    "networkpolicies": "-lumen",
    "services": "-stable",
    "deployments": "-stable",
    "poddisruptionbudgets": "-lumen",
    "horizontalpodautoscalers": "-lumen",
}
"""How a child is named after its service; the other kinds are named by what they hold."""

POD = {"containers": [{"name": "web", "image": "web.example/web:1"}]}
WEB = {"matchLabels": {"app": "web"}}
BODIES = {
    "controllerrevisions": {"revision": 1, "data": {"web": 1}},
    "configmaps": {"data": {"web": "1"}},
    "networkpolicies": {"spec": {"podSelector": WEB, "policyTypes": ["Ingress"]}},
    "services": {"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}},
    "deployments": {
        "spec": {
            "replicas": 0,
            "selector": WEB,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": POD},
        }
    },
    "poddisruptionbudgets": {"spec": {"maxUnavailable": 2, "selector": WEB}},
    "horizontalpodautoscalers": {
        "spec": {
            "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        }
    },
}
SCALED = {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}}
REPORTED = {"deployments", "poddisruptionbudgets", "horizontalpodautoscalers"}
"""Kinds of which a controller reports in the object itself, whoever made it."""

REPORTS = {"resourceVersion", "managedFields", "annotations"}


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("foreign")) as found:
        found.running(LUMEN_EXTERNAL_NETWORKS='["127.0.0.0/8"]')
        yield found
        assert found.proxy.forbidden == [], "the chart's rights are not enough"


def child_of(lab, kind, service):
    """Return the path of a child that a service has."""
    return lab.path(kind, f"{service}{NAMES[kind]}")


def make(lab, kind, path, **metadata):
    """Have somebody make an object there; return it as it is stored."""
    known = KINDS[kind]
    answer = lab.plane.http.post(
        lab.path(kind),
        json={
            "apiVersion": known.api_version,
            "kind": known.kind,
            "metadata": {"name": path.rsplit("/", 1)[1], **metadata},
            **BODIES[kind],
        },
        params={"fieldManager": "web-team"},
    )
    assert answer.status_code == 201, answer.text
    return essence(lab, path)


def take_its_place(lab, kind, path, method):
    """Have somebody make an object there when a call of ours is on its way to that path.

    Return a list that holds the object, as it is stored, once that has happened.
    """
    made = []

    def refuse(call):
        if not made and call.method == method and call.path.split("?")[0] == path:
            lab.plane.delete(path)
            made.append(make(lab, kind, path))

    lab.proxy.trouble.refuse = refuse
    return made


def essence(lab, path):
    """Return an object as it is stored, less what its controller reports."""
    found = lab.plane.get(path)
    if path.split("/")[-2] in REPORTED:
        metadata = {k: v for k, v in found["metadata"].items() if k not in REPORTS}
        found = {**found, "metadata": metadata, "status": None}
    return json.dumps(found, sort_keys=True)


def conflict(lab, name):
    """Return what the status says of the object in the way, empty while it says nothing."""
    for each in lab.service(name).get("status", {}).get("conditions", []):
        if (each["type"], each["status"], each["reason"]) == ("Accepted", "False", "FieldConflict"):
            return each["message"]
    return ""


def wait_conflict(lab, name, *words):
    lab.wait_until(
        lambda: all(word in conflict(lab, name) for word in words), f"{name} says {words}"
    )


def wait_conflict_over(lab, name, kind, path):
    wait_conflict(lab, name, KINDS[kind].kind, path.rsplit("/", 1)[1], "web-team")


def wait_ready_without(lab, name, path):
    lab.plane.delete(path)
    lab.wait_ready(name)


@pytest.mark.parametrize("kind", NAMES)
def test_it_stays_before_and_after_and_the_service_goes_on_without_it(lab, kind):
    name = f"first-{kind[:4]}"
    path = child_of(lab, kind, name)
    before = make(lab, kind, path)
    lab.serve(name, **SCALED)

    wait_conflict_over(lab, name, kind, path)
    assert lab.condition("Ready", name) == ("False", "FieldConflict")
    assert lab.children(name).keys().isdisjoint({f"deployments/{name}-stable"})
    assert essence(lab, path) == before

    lab.plane.delete(lab.path("lumenmodelservices", name))
    lab.wait_until(lambda: not lab.children(name), "the service's own children are gone")
    assert essence(lab, path) == before

    lab.serve(name, **SCALED)
    wait_conflict(lab, name, "web-team")
    wait_ready_without(lab, name, path)


@pytest.mark.parametrize("kind", NAMES)
def test_what_takes_a_deleted_childs_place_is_not_written_to(lab, kind):
    name = f"later-{kind[:4]}"
    path = child_of(lab, kind, name)
    lab.serve(name, **SCALED)
    lab.wait_ready(name)
    lab.proxy.trouble.refuse = lambda call: (503, {}) if call.writes and name in call.path else None
    lab.plane.delete(path)
    before = make(lab, kind, path)
    lab.proxy.trouble.refuse = lambda _: None

    wait_conflict_over(lab, name, kind, path)
    lab.serve(name, **SCALED, server={"maxBatchSize": 8})
    lab.wait_until(
        lambda: lab.service(name)["status"]["observedGeneration"] == 2, "the new spec was seen"
    )
    assert conflict(lab, name)
    assert essence(lab, path) == before
    wait_ready_without(lab, name, path)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("repair", [False, True], ids=["first", "repair"])
def test_what_is_made_while_an_apply_is_on_its_way_is_not_overwritten(lab, kind, repair):
    name = f"{'mend' if repair else 'race'}-{kind[:4]}"
    path = child_of(lab, kind, name)
    if repair:
        lab.serve(name, **SCALED)
        lab.wait_ready(name)
        made = take_its_place(lab, kind, path, "PATCH")
        lab.plane.patch(path, {"metadata": {"labels": {"lumen.dev/family": "x"}}})
    else:
        made = take_its_place(lab, kind, path, "PATCH")
        lab.serve(name, **SCALED)

    wait_conflict_over(lab, name, kind, path)
    assert [essence(lab, path)] == made
    wait_ready_without(lab, name, path)


def test_a_deletion_that_is_on_its_way_spares_what_took_the_place(lab):
    name = "moved"
    path = lab.path("networkpolicies", f"{name}-lumen")
    lab.serve(name)
    lab.wait_ready(name)
    made = take_its_place(lab, "networkpolicies", path, "DELETE")
    service = lab.a_service(name, external="127.0.0.1:9", pool=None)
    lab.plane.kubectl("replace", "-n", lab.namespace, "-f", "-", stdin=json.dumps(service))
    lab.wait_until(lambda: bool(made) and not lab.children(name), "what ran here is deleted")

    assert [essence(lab, path)] == made


@pytest.mark.parametrize("kind", ["controllerrevisions", "configmaps"])
def test_one_with_a_name_by_its_content_stays_too(lab, kind):
    name = f"hash-{kind[:4]}"
    lab.serve(name)
    lab.wait_ready(name)
    (child,) = (n for n in lab.children(name) if n.startswith(kind) and "-pins-" not in n)
    path = lab.path(*child.split("/"))
    lab.plane.delete(lab.path("lumenmodelservices", name))
    lab.wait_until(lambda: not lab.children(name), "the service is gone with its children")
    before = make(lab, kind, path)
    lab.serve(name)

    wait_conflict_over(lab, name, kind, path)
    assert essence(lab, path) == before
    wait_ready_without(lab, name, path)


def test_our_labels_make_nothing_ours(lab):
    name = "labelled"
    path = lab.path("networkpolicies", f"{name}-lumen")
    labels = {
        "lumen.dev/service": name,
        "lumen.dev/family": "clip",
        "app.kubernetes.io/managed-by": "lumen-operator",
    }
    before = make(lab, "networkpolicies", path, labels=labels)
    lab.serve(name)

    wait_conflict_over(lab, name, "networkpolicies", path)
    assert essence(lab, path) == before
    wait_ready_without(lab, name, path)


def test_another_services_child_is_that_services(lab):
    lab.serve("neighbour")
    lab.wait_ready("neighbour")
    uid = lab.service("neighbour")["metadata"]["uid"]
    owner = {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "name": "neighbour",
        "uid": uid,
        "controller": True,
    }
    path = lab.path("poddisruptionbudgets", "mine-lumen")
    before = make(lab, "poddisruptionbudgets", path, ownerReferences=[owner])
    lab.serve("mine")

    wait_conflict(lab, "mine", "LumenModelService neighbour owns it")
    assert essence(lab, path) == before


def test_orphaned_children_are_taken_up_by_the_next_service_of_the_name(lab):
    name = "orphan"
    lab.serve(name)
    lab.wait_ready(name)
    before = {each: raw["metadata"]["uid"] for each, raw in lab.children(name).items()}
    lab.plane.kubectl("delete", "-n", lab.namespace, "lms", name, "--cascade=orphan")
    assert all("ownerReferences" not in c["metadata"] for c in lab.children(name).values())
    lab.serve(name)
    lab.wait_ready(name)
    uid = lab.service(name)["metadata"]["uid"]

    def taken_up():
        children = lab.children(name)
        return {each: raw["metadata"]["uid"] for each, raw in children.items()} == before and all(
            raw["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid
            for raw in children.values()
        )

    lab.wait_until(taken_up, "every child is taken up, and is the same object")


def test_a_service_that_is_made_anew_at_once_is_ready_again(lab):
    name = "again"
    lab.serve(name)
    lab.wait_ready(name)
    lab.plane.kubectl("delete", "-n", lab.namespace, "lms", name)
    lab.serve(name)
    lab.wait_ready(name)

    lab.wait_until(
        lambda: all(
            c["metadata"]["ownerReferences"][0]["uid"] == lab.service(name)["metadata"]["uid"]
            for c in lab.children(name).values()
        ),
        "every child is the new service's",
    )


def test_a_service_in_the_way_writes_nothing_while_it_waits(lab):
    name = "waits"
    path = lab.path("networkpolicies", f"{name}-lumen")
    make(lab, "networkpolicies", path)
    lab.serve(name)
    wait_conflict(lab, name, "web-team")

    def looks():
        return sum(call.path == path and call.method == "GET" for call in lab.proxy.calls)

    lab.wait_until(lambda: looks() >= 2, "it was looked for since it was told")
    written = len(lab.proxy.writes)
    seen = looks()
    lab.wait_until(lambda: looks() >= seen + 2, "it is looked for again")

    assert [w for w in lab.written_since(written) if name in w] == []
