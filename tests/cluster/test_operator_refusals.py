"""What the cluster refuses, and what holds some pods while others serve: told, never green.

All scenes are services of one namespace, whose operator has the chart's rights.
"""

import json

import pytest
from controlplane.nodes import BEHAVIOUR, DOWN, TERMINATION_MESSAGE, Behaviour
from operator_lab import LABEL, VERIFIED, operator_lab, path_of

from lumen_operator.observe.kinds import CHILD_KINDS

SCALED = {"autoscaling": {"maxReplicas": 3, "metrics": [{"type": "inflight", "target": 8}]}}
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = POLICIES.replace("policies", "policybindings")
KINDS = {kind.plural: kind for kind in CHILD_KINDS}
OF_A_SERVICE = (
    "!(has(object.metadata.labels) && 'lumen.dev/service' in object.metadata.labels"
    " && object.metadata.labels['lumen.dev/service'] == {service})"
)


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("refusals")) as found:
        found.running()
        yield found
        assert found.proxy.forbidden == [], "the chart's rights are not enough"


def found_verified(**annotations):
    return {"annotations": {TERMINATION_MESSAGE: json.dumps(VERIFIED), **annotations}}


def make_policy(lab, name, service, probe):
    """Let a policy refuse children of a service that an expression names; return its path.

    `probe` is the service of a ConfigMap that shows when it is in force.
    """
    kinds = [{"group": k.group, "version": k.version, "plural": k.plural} for k in CHILD_KINDS]
    rules = [
        {
            "apiGroups": [kind["group"]],
            "apiVersions": [kind["version"]],
            "operations": ["CREATE", "UPDATE"],
            "resources": [kind["plural"]],
        }
        for kind in kinds
    ]
    where = {"matchLabels": {"kubernetes.io/metadata.name": lab.namespace}}
    name = f"{name}-{lab.namespace}"
    refuses = OF_A_SERVICE.format(service=service)
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules, "namespaceSelector": where},
            "validations": [{"expression": refuses, "message": "a team's label is missing"}],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    for path, document in ((POLICIES, policy), (BINDINGS, binding)):
        lab.plane.create(path, document)
        lab.stack.callback(lab.plane.delete, f"{path}/{name}")
    tried = {"metadata": {"name": "probe", "labels": {"lumen.dev/service": probe}}}
    lab.wait_until(
        lambda: (
            lab.plane.http.post(
                lab.path("configmaps"), params={"dryRun": "All"}, json=tried
            ).is_client_error
        ),
        "the policy is in force",
    )
    return f"{POLICIES}/{name}"


@pytest.fixture(scope="module")
def refused(lab):
    make_policy(lab, "teams", "'no-' + request.resource.resource", "no-configmaps")
    lab.apply(*(lab.a_service(f"no-{plural}", **SCALED) for plural in KINDS))
    return lab


@pytest.mark.parametrize("plural", KINDS)
def test_a_child_that_a_policy_refuses_is_told_by_kind_and_in_the_policys_words(refused, plural):
    name = f"no-{plural}"
    said = ("False", "ChildRefused")
    refused.wait_until(lambda: refused.condition("Ready", name) == said, f"{name} says {said}")

    message = refused.message("Accepted", name)
    assert message.startswith(f"The API server refuses {KINDS[plural].kind} {name}")
    assert "a team's label is missing" in message
    assert "Change the policy that the message names" in message
    assert refused.service(name)["status"]["reason"] == "ChildRefused"
    assert "Wait for the first pod" not in json.dumps(refused.service(name)["status"])


def test_a_refused_child_is_made_once_the_policy_admits_it(lab):
    path = make_policy(lab, "later", "'later'", "later")
    lab.serve("later")
    said = ("False", "ChildRefused")
    lab.wait_until(lambda: lab.condition("Accepted", "later") == said, f"it says {said}")
    lab.plane.delete(path)
    lab.wait_ready("later")

    assert lab.condition("Accepted", "later") == ("True", "Accepted")


def test_a_quota_for_one_pod_of_three_is_told_while_that_one_serves(lab):
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    lab.plane.create(classes, {"metadata": {"name": lab.namespace}, "value": 1})
    lab.stack.callback(lab.plane.delete, f"{classes}/{lab.namespace}")
    match = {"scopeName": "PriorityClass", "operator": "In", "values": [lab.namespace]}
    spec = {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [match]}}
    lab.plane.create(lab.path("resourcequotas"), {"metadata": {"name": "one"}, "spec": spec})
    template = {"priorityClassName": lab.namespace, **found_verified()}
    lab.serve("narrow", replicas=3, podTemplate=template)
    lab.wait_until(
        lambda: lab.condition("Available", "narrow") == ("True", "Degraded"), "it says Degraded"
    )

    message = lab.message("Available", "narrow")
    assert message.startswith("1 of 3 pods serves. PodsForbidden:")
    assert "exceeded quota" in message
    assert "Raise the quota" in message
    assert lab.condition("Ready", "narrow") == ("True", "Ready")
    row = lab.plane.kubectl("get", "lms", "-n", lab.namespace, "narrow", "--no-headers").split()
    assert row[5:8] == ["True", "1/3", "PodsForbidden"]
    (operator,) = lab.operators
    figures = operator.figures()
    labels = f'{{namespace="{lab.namespace}",service="narrow"}}'
    assert figures[f"lumen_operator_service_replicas_wanted{labels}"] == 3
    assert figures[f"lumen_operator_service_replicas_ready{labels}"] == 1


def test_one_of_two_pods_that_crashes_is_told_and_so_is_its_return(lab):
    lab.serve("half", replicas=2)
    lab.wait_until(lambda: lab.service("half").get("status", {}).get("ready") == "2/2", "2 serve")
    pod = lab.plane.pods(lab.namespace, "lumen.dev/service=half")[0]["metadata"]["name"]
    lab.plane.set_behaviour(lab.namespace, pod, Behaviour.CRASH_LOOP)
    lab.wait_until(
        lambda: lab.service("half")["status"]["reason"] == "ServerCrashed", "the crash is told"
    )
    assert lab.condition("Ready", "half") == ("True", "Ready")
    assert f"pod {pod} ended" in lab.message("Available", "half")

    lab.plane.set_behaviour(lab.namespace, pod, Behaviour.READY)
    lab.wait_until(lambda: lab.service("half")["status"]["reason"] == "", "all is well again")


def test_a_limit_below_what_a_server_asks_for_by_itself_is_the_limit_range_s(lab):
    limits = [{"type": "Container", "default": {"memory": "100Mi"}}]
    path = f"{lab.path('limitranges')}/small"
    lab.plane.create(
        lab.path("limitranges"), {"metadata": {"name": "small"}, "spec": {"limits": limits}}
    )
    try:
        lab.serve("roomy")
        lab.wait_until(
            lambda: lab.condition("Available", "roomy") == ("False", "PodsForbidden"),
            "it says PodsForbidden",
        )
    finally:
        lab.plane.delete(path)

    message = lab.message("Available", "roomy")
    assert "must be less than or equal to memory limit" in message
    assert "Set spec.resources to what the namespace's LimitRange allows." in message


@pytest.mark.parametrize(
    ("name", "pool", "template", "remedy"),
    [
        ("no-class", {}, {"priorityClassName": "none"}, "Create the PriorityClass"),
        ("no-runtime", {"runtimeClassName": "none"}, {}, "Create the RuntimeClass"),
    ],
)
def test_what_pods_name_and_nobody_made_is_not_called_a_quota(lab, name, pool, template, remedy):
    where = f"{lab.namespace}-{name}"
    lab.make_pool(where, **pool)
    lab.serve(name, pool=where, podTemplate={**template, **found_verified()})
    said = ("False", "PodsForbidden")
    lab.wait_until(lambda: lab.condition("Available", name) == said, f"{name} says {said}")

    message = lab.message("Available", name)
    assert remedy in message
    assert "quota" not in message
    assert (
        lab.message("ResourcesReady", name)
        == "There is no pod, and Available says why: PodsForbidden."
    )


def test_what_a_node_cannot_set_up_is_told_from_the_pods_events(lab):
    lab.serve("bare", podTemplate={"annotations": {BEHAVIOUR: Behaviour.NOT_SET_UP}})
    selector = "lumen.dev/service=bare"
    lab.wait_until(lambda: bool(lab.plane.pods(lab.namespace, selector)), "it has a pod")
    (pod,) = lab.plane.pods(lab.namespace, selector)
    words = 'Failed to create pod sandbox: no runtime for "nvidia" is configured'
    event = {
        "metadata": {"name": "bare-1", "namespace": lab.namespace},
        "involvedObject": {
            "kind": "Pod",
            "namespace": lab.namespace,
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
        "reason": "FailedCreatePodSandBox",
        "message": words,
        "type": "Warning",
    }
    lab.plane.create(lab.path("events"), event)
    said = ("False", "StartFailed")
    lab.wait_until(lambda: lab.condition("Available", "bare") == said, f"it says {said}")

    message = lab.message("Available", "bare")
    assert words in message
    assert "Install the runtime" in message


def test_a_node_that_is_not_ready_is_named(lab):
    pool = lab.cards("down")
    lab.serve("lost", pool=pool)
    lab.wait_ready("lost")
    (pod,) = lab.plane.pods(lab.namespace, "lumen.dev/service=lost")
    node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
    lab.plane.set_behaviour(lab.namespace, name, Behaviour.NEVER_READY)
    words = "Kubelet stopped posting node status."
    condition = {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": words}
    lab.plane.patch(path_of("nodes", name=node), {"metadata": {"labels": {DOWN: "", LABEL: pool}}})
    lab.plane.patch(
        f"{path_of('nodes', name=node)}/status", {"status": {"conditions": [condition]}}
    )
    said = ("False", "NodeNotReady")
    lab.wait_until(lambda: lab.condition("Available", "lost") == said, f"it says {said}")

    message = lab.message("Available", "lost")
    assert f"node {node} is not ready: {words}" in message
    assert f"`kubectl delete node {node}`" in message
    where = path_of("lumennodepools", name=pool)
    lab.wait_until(
        lambda: "NodeNotReady" in json.dumps(lab.plane.get(where)["status"]), "the pool says so too"
    )
