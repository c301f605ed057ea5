"""Whose a live object is that has the name of a child, by every mark that it may carry."""

import copy

import pytest

from lumen_cluster.kinds import NETWORK_POLICIES
from lumen_operator.children.ownership import stranger_of, taken_by_other
from lumen_operator.observe.store import trimmed

US = {
    "apiVersion": "lumen.dev/v1alpha1",
    "kind": "LumenModelService",
    "name": "clip",
    "uid": "u1",
    "controller": True,
    "blockOwnerDeletion": True,
}
LABELS = {"app.kubernetes.io/managed-by": "lumen-operator", "lumen.dev/service": "clip"}
MANIFEST = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {
        "name": "clip-lumen",
        "namespace": "team",
        "labels": LABELS,
        "ownerReferences": [US],
    },
    "spec": {},
}


def manager(name, operation="Update", **more):
    return {"manager": name, "operation": operation, "fieldsV1": {"f:spec": {}}, **more}


OURS = manager("lumen-operator", "Apply")
HELM = manager("helm")
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u9"}
OTHER = US | {"name": "clip-pins", "uid": "u2"}
EARLIER = US | {"uid": "u0"}

CASES = {
    "ours": ({"ownerReferences": [US], "managedFields": [OURS]}, ""),
    "ours, whoever wrote to it": ({"ownerReferences": [US], "managedFields": [HELM]}, ""),
    "ours beside another owner": ({"ownerReferences": [DEPLOYMENT, US]}, ""),
    "orphaned": ({"managedFields": [HELM, OURS]}, ""),
    "orphaned, with an owner that controls nothing": (
        {"ownerReferences": [DEPLOYMENT], "managedFields": [OURS]},
        "",
    ),
    "left by an earlier service of the name": (
        {"ownerReferences": [EARLIER], "managedFields": [OURS]},
        "",
    ),
    "that of an earlier version of the API": (
        {
            "ownerReferences": [EARLIER | {"apiVersion": "lumen.dev/v1"}],
            "managedFields": [OURS],
        },
        "",
    ),
    "nobody's": ({}, "nothing says who made it"),
    "a user's": ({"managedFields": [HELM]}, "written by helm"),
    "a user's with our labels": ({"labels": LABELS, "managedFields": [HELM]}, "written by helm"),
    "a user's, updated under our name": (
        {"managedFields": [manager("lumen-operator")]},
        "written by lumen-operator",
    ),
    "a user's, of which we applied the status": (
        {"managedFields": [HELM, manager("lumen-operator", "Apply", subresource="status")]},
        "written by helm",
    ),
    "a tool's": (
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "managedFields": [HELM]},
        "written by helm, its label app.kubernetes.io/managed-by says Helm",
    ),
    "a user's that names us, but not as controller": (
        {"ownerReferences": [US | {"controller": False}], "managedFields": [HELM]},
        "written by helm",
    ),
    "a controller's": (
        {"ownerReferences": [DEPLOYMENT | {"controller": True}]},
        "Deployment web owns it",
    ),
    "a controller's that we applied": (
        {"ownerReferences": [DEPLOYMENT | {"controller": True}], "managedFields": [OURS]},
        "Deployment web owns it",
    ),
    "another service's of ours": (
        {"ownerReferences": [OTHER], "managedFields": [OURS]},
        "LumenModelService clip-pins owns it",
    ),
    "another kind's of our name": (
        {"ownerReferences": [US | {"kind": "Site", "uid": "u3"}], "managedFields": [OURS]},
        "Site clip owns it",
    ),
    "one with a made-up owner": (
        {"ownerReferences": [EARLIER], "managedFields": [HELM]},
        "an earlier LumenModelService clip owned it",
    ),
    "many people's": (
        {"managedFields": [manager(f"m{n}") for n in range(9)]},
        "written by m0, m1, m2",
    ),
    "one with what no terminal should see": (
        {"managedFields": [manager("\x1b[31m" + "x" * 200)]},
        "written by [31m" + "x" * 96 + "...",
    ),
    "a strange one": ({"ownerReferences": "x", "managedFields": [7]}, "nothing says who made it"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_object_is_ours_by_its_controller_else_by_our_own_apply(case):
    metadata, expected = CASES[case]
    live = {"metadata": {"name": "clip-lumen", "uid": "x", **copy.deepcopy(metadata)}}

    assert stranger_of(MANIFEST, live) == expected
    assert stranger_of(MANIFEST, trimmed(NETWORK_POLICIES, live)) == expected, "as the cache has it"


def test_the_finding_names_the_object_its_owner_and_what_to_do():
    found = taken_by_other(MANIFEST, {"metadata": {"managedFields": [HELM]}})

    assert found is not None
    assert found.message == (
        "NetworkPolicy clip-lumen is there already and is not this service's: written by helm. "
        "Remove NetworkPolicy clip-lumen if nobody needs it, or give the LumenModelService another "
        "name; until then nothing of the service is written."
    )
    assert taken_by_other(MANIFEST, MANIFEST) is None
