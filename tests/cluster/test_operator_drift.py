"""Damage that people do to children is repaired, and what is theirs is left alone."""

import pytest
from operator_lab import operator_lab

CONFIG = "configmaps/clip-"
PINS = "configmaps/clip-pins-"
DEPLOYMENT = "deployments/clip-stable"
HEADLESS = "services/clip-stable"
BUDGET = "poddisruptionbudgets/clip-lumen"
POLICY = "networkpolicies/clip-lumen"
REVISION = "controllerrevisions/clip-"


def server(**fields):
    return {"spec": {"template": {"spec": {"containers": [{"name": "server", **fields}]}}}}


def pod(**fields):
    return {"spec": {"template": {"spec": fields}}}


PATCHES = {
    "replicas": (DEPLOYMENT, {"spec": {"replicas": 5}}),
    "the image": (DEPLOYMENT, server(image="evil.example/server:1")),
    "the command": (DEPLOYMENT, server(command=["sleep", "1000"])),
    "a privileged container": (
        DEPLOYMENT,
        server(securityContext={"privileged": True, "allowPrivilegeEscalation": True}),
    ),
    "a writable root": (DEPLOYMENT, server(securityContext={"readOnlyRootFilesystem": False})),
    "the host's network": (DEPLOYMENT, pod(hostNetwork=True)),
    "the host's processes": (DEPLOYMENT, pod(hostPID=True)),
    "a ServiceAccount's token": (DEPLOYMENT, pod(automountServiceAccountToken=True)),
    "the grace period": (DEPLOYMENT, pod(terminationGracePeriodSeconds=1)),
    "a probe": (DEPLOYMENT, server(readinessProbe={"periodSeconds": 600})),
    "a Deployment's label": (DEPLOYMENT, {"metadata": {"labels": {"lumen.dev/family": "x"}}}),
    "the label that we find it by": (
        DEPLOYMENT,
        {"metadata": {"labels": {"lumen.dev/service": None}}},
    ),
    "the owner": (BUDGET, {"metadata": {"ownerReferences": None}}),
    "the headless Service's selector": (
        HEADLESS,
        {"spec": {"selector": {"lumen.dev/service": "other"}}},
    ),
    "the budget": (BUDGET, {"spec": {"maxUnavailable": "100%"}}),
    "the policy's peers": (POLICY, {"spec": {"ingress": [{}]}}),
    "the policy's direction": (POLICY, {"spec": {"policyTypes": ["Egress"]}}),
}
DELETED = (DEPLOYMENT, HEADLESS, BUDGET, POLICY, CONFIG, PINS, REVISION)
PATCH_TYPES = {"deployments": "application/strategic-merge-patch+json"}


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("drift")) as found:
        found.running()
        found.serve()
        found.wait_ready()
        yield found


@pytest.fixture(scope="module", autouse=True)
def as_made(lab):
    """What is rendered of every child, before anybody added anything."""
    return essence(lab)


def name_of(lab, wanted):
    """Complete a name that ends in a hash."""
    names = [name for name in lab.children() if name.startswith(wanted)]
    (found,) = names if wanted == PINS else (name for name in names if PINS not in name)
    return found


def path_of(lab, name):
    return lab.path(*name.split("/"))


def essence(lab):
    """What is rendered of every child: fields of ours, by our own account of them."""
    return {name: essence_of(child) for name, child in lab.children().items()}


def essence_of(child):
    spec = {key: child[key] for key in ("spec", "data", "immutable") if key in child}
    metadata = {key: child["metadata"].get(key) for key in ("labels", "ownerReferences")}
    return spec | metadata


def damage(lab, name, patch):
    """Change a child; return it as it was stored, however soon it is repaired."""
    kind = name.split("/")[0]
    headers = {"Content-Type": PATCH_TYPES.get(kind, "application/merge-patch+json")}
    answer = lab.plane.http.patch(path_of(lab, name), json=patch, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("what", PATCHES)
def test_a_changed_field_is_repaired(lab, what):
    wanted, patch = PATCHES[what]
    name = name_of(lab, wanted)
    before = essence(lab)
    assert essence_of(damage(lab, name, patch)) != before[name]

    lab.wait_until(lambda: essence(lab) == before, f"{what} is repaired")


@pytest.mark.parametrize("wanted", DELETED)
def test_a_deleted_child_is_made_anew(lab, as_made, wanted):
    name = name_of(lab, wanted)
    uid = lab.children()[name]["metadata"]["uid"]
    lab.plane.delete(path_of(lab, name))

    def made_anew():
        found = lab.children().get(name)
        if found is None or found["metadata"]["uid"] == uid:
            return False
        return essence_of(found) == as_made[name]

    lab.wait_until(made_anew, f"{name} is made anew")


FOREIGN = {
    "an annotation": (DEPLOYMENT, {"metadata": {"annotations": {"team.example/owner": "birds"}}}),
    "a label": (HEADLESS, {"metadata": {"labels": {"team.example/cost": "42"}}}),
    "a pod's annotation": (
        DEPLOYMENT,
        {"spec": {"template": {"metadata": {"annotations": {"sidecar.example/inject": "true"}}}}},
    ),
    "a sidecar": (
        DEPLOYMENT,
        pod(containers=[{"name": "sidecar", "image": "mesh.example/proxy:1"}]),
    ),
    "a variable": (DEPLOYMENT, server(env=[{"name": "TEAM_SETTING", "value": "1"}])),
    "a second owner": (
        BUDGET,
        {"metadata": {"annotations": {"argocd.example/tracking": "app"}}},
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_fields_that_are_not_rendered_are_other_peoples_and_stay(lab, what):
    name, patch = FOREIGN[what]
    damage(lab, name, patch)
    # Our own field beside it is damaged and repaired: the operator did look at the object.
    ours = {"lumen.dev/family": "x"}
    assert damage(lab, name, {"metadata": {"labels": ours}})["metadata"]["labels"].items() > (
        ours.items()
    )

    def repaired():
        return lab.children()[name]["metadata"]["labels"]["lumen.dev/family"] == "clip"

    lab.wait_until(repaired, "our own field is repaired")
    assert contains(lab.children()[name], patch), what


def contains(found, wanted):
    """Return whether everything that was written is there; list entries go by their name."""
    if isinstance(wanted, dict):
        return all(key in found and contains(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        by_name = {each["name"]: each for each in found}
        return all(contains(by_name.get(each["name"], {}), each) for each in wanted)
    return found == wanted


def test_another_manager_that_applies_a_field_of_ours_is_overruled_and_reported(lab):
    path = path_of(lab, BUDGET)
    applied = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "clip-lumen", "namespace": lab.namespace},
        "spec": {"maxUnavailable": 3},
    }
    answer = lab.plane.http.patch(
        path,
        json=applied,
        params={"fieldManager": "argocd", "force": "true"},
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert answer.status_code == 200, answer.text

    assert answer.json()["spec"]["maxUnavailable"] == 3
    lab.wait_until(
        lambda: lab.children()[BUDGET]["spec"]["maxUnavailable"] == 1, "ours holds again"
    )
    # Once overruled the other one owns the field no more: the event is what stays, and the
    # condition goes by itself.
    lab.wait_until(
        lambda: any("argocd applies spec.maxUnavailable" in each for each in conflicts(lab)),
        "it is told by name",
    )
    lab.wait_ready()


def conflicts(lab):
    """Return what was told of other managers that apply fields of ours."""
    found = lab.plane.get(lab.path("events"))["items"]
    return [each["message"] for each in found if each["reason"] == "FieldConflict"]
