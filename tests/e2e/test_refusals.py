"""What a real node and its cluster refuse is told in the status, while other services answer."""

import beside
from cluster_objects import a_service
from kube import CommandFailed

POLICIES = ("validatingadmissionpolicy", "validatingadmissionpolicybinding")
CLASS = "lumen-e2e-one"


def _condition(kube, name, type_):
    found = kube.get("lms", name).get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == type_), {})


def _until(kube, name, type_, status, reason):
    wanted = status, reason

    def said():
        found = _condition(kube, name, type_)
        return (found.get("status"), found.get("reason")) == wanted

    kube.until(said, f"{name} says {type_} {status} {reason}")
    return _condition(kube, name, type_)["message"]


def _again(kube, name, **spec):
    """Return the demo's clip, from the web server, under another name."""
    model = kube.get("lms", "clip")["spec"]["model"]
    service = a_service(name, **{"model": model, **spec})
    return beside.on_cluster(service, f"{beside.WEB}/demo-clip")


def test_a_pod_that_no_node_has_room_for_is_unschedulable_in_the_schedulers_words(kube, demo):
    kube.apply(_again(kube, "huge", resources={"requests": {"cpu": "999"}}))
    message = _until(kube, "huge", "Available", "False", "Unschedulable")

    assert "Insufficient cpu" in message
    assert "Lower spec.resources.requests" in message
    kube.kubectl("delete", "lms", "huge", "--wait")


def test_a_quota_that_admits_one_pod_of_two_shows_while_that_one_serves(kube, demo):
    kube.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": CLASS},
            "value": 1,
        },
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "one"},
            "spec": {
                "hard": {"pods": "1"},
                "scopeSelector": {
                    "matchExpressions": [
                        {"scopeName": "PriorityClass", "operator": "In", "values": [CLASS]}
                    ]
                },
            },
        },
    )
    kube.apply(_again(kube, "narrow", replicas=2, podTemplate={"priorityClassName": CLASS}))
    message = _until(kube, "narrow", "Available", "True", "Degraded")
    row = kube.kubectl("get", "lms", "narrow", "--no-headers").split()

    assert message.startswith("1 of 2 pods serves. PodsForbidden:")
    assert "exceeded quota" in message
    assert row[5:8] == ["True", "1/2", "PodsForbidden"]
    kube.kubectl("delete", "lms", "narrow", "--wait")
    kube.kubectl("delete", f"priorityclass/{CLASS}", "resourcequota/one")


def test_a_policy_against_a_deployment_is_told_in_its_words(kube, demo):
    rules = [
        {
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"],
        }
    ]
    where = {"matchLabels": {"kubernetes.io/metadata.name": kube.namespace}}
    test = "object.metadata.name != 'refused-stable'"
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "lumen-e2e"}}
    kube.apply(
        {
            **kind,
            "kind": "ValidatingAdmissionPolicy",
            "spec": {
                "matchConstraints": {"resourceRules": rules, "namespaceSelector": where},
                "validations": [{"expression": test, "message": "a team's label is missing"}],
            },
        },
        {
            **kind,
            "kind": "ValidatingAdmissionPolicyBinding",
            "spec": {"policyName": "lumen-e2e", "validationActions": ["Deny"]},
        },
    )
    kube.until(lambda: _is_refused(kube), "the policy is in force")
    kube.apply(_again(kube, "refused"))
    message = _until(kube, "refused", "Accepted", "False", "ChildRefused")

    assert message.startswith("The API server refuses Deployment refused-stable:")
    assert "a team's label is missing" in message
    kube.kubectl("delete", "lms", "refused", "--wait")
    kube.kubectl("delete", *(f"{kind}/lumen-e2e" for kind in POLICIES))


def _is_refused(kube):
    """Try the policy with a Deployment that is not stored."""
    asked = ("create", "deployment", "refused-stable", "--image=none", "--dry-run=server")
    try:
        kube.kubectl(*asked)
    except CommandFailed as refusal:
        return "a team's label" in str(refusal)
    return False
