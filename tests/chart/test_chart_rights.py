"""What the chart's ServiceAccounts may do, in full: nothing is added unnoticed."""

from collections import defaultdict

import pytest
from chart.rendering import VALUE_SETS, rendered, the

READ = {"get", "list", "watch"}
CHILD = READ | {"create", "patch", "delete"}

OF_THE_CLUSTER = {
    "lumen.dev/lumennodepools": READ | {"create"},
    "lumen.dev/lumennodepools/status": {"patch"},
    "/nodes": READ,
}
OF_ITS_NAMESPACES = {
    "lumen.dev/lumenmodelservices": READ,
    "lumen.dev/lumenmodelservices/status": {"patch"},
    "lumen.dev/lumenmodelservices/finalizers": {"update"},
    "apps/deployments": CHILD,
    "apps/controllerrevisions": CHILD,
    "/services": CHILD,
    "/configmaps": CHILD,
    "policy/poddisruptionbudgets": CHILD,
    "autoscaling/horizontalpodautoscalers": CHILD,
    "networking.k8s.io/networkpolicies": CHILD,
    "/pods": READ,
    "/persistentvolumeclaims": READ,
    "apps/replicasets": READ,
    "events.k8s.io/events": {"create", "list"},
}
OF_THE_ELECTION = {
    "coordination.k8s.io/leases": {"create"},
    "coordination.k8s.io/leases lumen-operator": {"get", "update"},
}
OF_THE_ROUTER = {
    "lumen.dev/lumenmodelservices": READ,
    "discovery.k8s.io/endpointslices": READ,
}


def rights(role):
    """Return the verbs by group and resource, and by name where the rule names objects."""
    found = defaultdict(set)
    for rule in role["rules"]:
        names = "".join(f" {name}" for name in rule.get("resourceNames", ()))
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found[f"{group}/{resource}{names}"] |= set(rule["verbs"])
    return dict(found)


def test_an_operator_of_all_namespaces_has_one_cluster_role(helm3):
    documents = rendered(helm3)

    operator = the(documents, "ClusterRole", "lumen-operator.lumen")
    assert rights(operator) == OF_THE_CLUSTER | OF_ITS_NAMESPACES
    assert [role["metadata"]["name"] for role in documents if role["kind"] == "Role"] == [
        "lumen-operator-election",
        "lumen-router",
    ]


def test_an_operator_of_one_namespace_has_pools_and_nodes_in_the_whole_cluster(helm3):
    documents = rendered(helm3, "--set=operator.watchNamespace=models")

    assert rights(the(documents, "ClusterRole", "lumen-operator.lumen")) == OF_THE_CLUSTER
    role = the(documents, "Role", "lumen-operator")
    assert role["metadata"]["namespace"] == "models"
    assert rights(role) == OF_ITS_NAMESPACES
    binding = the(documents, "RoleBinding", "lumen-operator")
    assert binding["metadata"]["namespace"] == "models"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "lumen-operator", "namespace": "lumen"}
    ]


def test_the_election_and_the_router_have_rights_in_their_own_namespace(helm3):
    documents = rendered(helm3)

    assert rights(the(documents, "Role", "lumen-operator-election")) == OF_THE_ELECTION
    assert rights(the(documents, "Role", "lumen-router")) == OF_THE_ROUTER
    for name in ("lumen-operator-election", "lumen-router"):
        assert the(documents, "Role", name)["metadata"]["namespace"] == "lumen"


@pytest.mark.parametrize("values", VALUE_SETS)
def test_nobody_gets_secrets_wildcards_or_a_token_unasked(helm3, values):
    documents = rendered(helm3, *VALUE_SETS[values])

    for role in documents:
        for rule in role.get("rules", ()) if "Role" in role["kind"] else ():
            said = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not said & {"*", "secrets", "escalate", "bind", "impersonate"}
    for account in documents:
        if account["kind"] == "ServiceAccount":
            assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_binding_leads_to_a_role_and_an_account_of_the_chart(helm3, values):
    documents = rendered(helm3, *VALUE_SETS[values])

    for binding in documents:
        if binding["kind"] in {"RoleBinding", "ClusterRoleBinding"}:
            role = the(documents, binding["roleRef"]["kind"], binding["roleRef"]["name"])
            assert role["metadata"].get("namespace") == binding["metadata"].get("namespace")
            (subject,) = binding["subjects"]
            the(documents, "ServiceAccount", subject["name"])


def test_an_account_that_exists_keeps_its_own_rights(helm3):
    documents = rendered(
        helm3, "--set=operator.serviceAccount.create=false,operator.serviceAccount.name=mine"
    )

    names = [one["metadata"]["name"] for one in documents if "Role" in one["kind"]]
    assert [name for name in names if "operator" in name] == []
    pod = the(documents, "Deployment", "lumen-operator")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "mine"


def test_editors_may_write_services_and_viewers_see_them(helm3):
    documents = rendered(helm3)

    edit, view = (the(documents, "ClusterRole", f"lumen-{who}.lumen") for who in ("edit", "view"))
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert {"create", "update", "delete"} <= rights(edit)["lumen.dev/lumenmodelservices"]
    assert rights(view)["lumen.dev/lumenmodelservices"] == READ
    assert "lumen.dev/lumenmodelservices/status" not in rights(edit)
