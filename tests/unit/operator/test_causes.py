"""What is to be done fits its cause: the words of schedulers, kubelets, registries, servers."""

import re

import pytest

from lumen_manifest.conditions import Reason
from lumen_operator.diagnose.causes import CAUSES, remedy_for

FACTS = {"pool": "cpu", "node": "n1", "namespace": "photos", "object": "Service x"}
SAID = [
    (Reason.CHILD_REFUSED, 'services "x" is forbidden: exceeded quota: q, requested: 1', "quota"),
    (
        Reason.CHILD_REFUSED,
        (
            'configmaps "x" is forbidden: User "system:serviceaccount:lumen:lumen-operator" cannot '
            'patch resource "configmaps" in API group "" in the namespace "photos"'
        ),
        "rights",
    ),
    (
        Reason.CHILD_REFUSED,
        (
            'services "x" is forbidden: unable to create new content in namespace photos because '
            "it is being terminated"
        ),
        "Wait until namespace photos is gone",
    ),
    (
        Reason.CHILD_REFUSED,
        (
            "failed to create typed patch object (photos/x; apps/v1, Kind=Deployment): "
            ".spec.template.spec.wonder: field not declared in schema"
        ),
        "spec.podTemplate",
    ),
    (
        Reason.CHILD_REFUSED,
        'Internal error occurred: failed calling webhook "a.b.c": connection refused',
        "Bring the webhook",
    ),
    (
        Reason.CHILD_REFUSED,
        'admission webhook "a.b.c" denied the request: no team',
        "Change the policy",
    ),
    (
        Reason.CHILD_REFUSED,
        'Deployment.apps "x" is invalid: spec.template.spec.nodeSelector: Invalid value: "-"',
        "Correct in the spec, or in pool cpu",
    ),
    (Reason.PODS_FORBIDDEN, 'pods "x" is forbidden: exceeded quota: one', "Raise the quota"),
    (
        Reason.PODS_FORBIDDEN,
        'pods "x" is forbidden: failed quota: q: must specify limits.cpu for: server',
        "Set in spec.resources",
    ),
    (
        Reason.PODS_FORBIDDEN,
        'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
        "LimitRange",
    ),
    (
        Reason.PODS_FORBIDDEN,
        'Pod "x" is invalid: Invalid value: "1Gi": must be less than or equal to memory limit',
        "LimitRange",
    ),
    (
        Reason.PODS_FORBIDDEN,
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": procMount',
        "pod-security.kubernetes.io/enforce",
    ),
    (
        Reason.PODS_FORBIDDEN,
        'pods "x" is forbidden: no PriorityClass with name gold was found',
        "Create the PriorityClass",
    ),
    (
        Reason.PODS_FORBIDDEN,
        'pod rejected: RuntimeClass "nvidia" not found',
        "Create the RuntimeClass",
    ),
    (
        Reason.PODS_FORBIDDEN,
        'error looking up service account photos/default: serviceaccount "default" not found',
        "Create the ServiceAccount",
    ),
    (Reason.PODS_FORBIDDEN, "because it is being terminated", "Wait until namespace"),
    (Reason.PODS_FORBIDDEN, 'failed calling webhook "x": EOF', "Bring the webhook"),
    (
        Reason.PODS_FORBIDDEN,
        "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
        "Change the policy",
    ),
    (
        Reason.UNSCHEDULABLE,
        (
            "0/3 nodes are available: 1 Insufficient memory, 2 node(s) didn't match Pod's node "
            "affinity/selector."
        ),
        "Lower spec.resources.requests",
    ),
    (
        Reason.UNSCHEDULABLE,
        (
            "0/2 nodes are available: 1 node(s) were unschedulable, 1 node(s) didn't match Pod's "
            "node affinity/selector."
        ),
        "kubectl uncordon",
    ),
    (
        Reason.UNSCHEDULABLE,
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/"
            "disk-pressure: }."
        ),
        "Bring the node back",
    ),
    (
        Reason.UNSCHEDULABLE,
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.",
        "Relax affinity",
    ),
    (
        Reason.UNSCHEDULABLE,
        (
            "0/2 nodes are available: 1 node(s) had untolerated taint {team: a}, 1 node(s) didn't "
            "match Pod's node affinity/selector."
        ),
        "Add the toleration to pool cpu",
    ),
    (
        Reason.UNSCHEDULABLE,
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/"
            "control-plane: }, 2 node(s) didn't match Pod's node affinity/selector."
        ),
        "Correct nodeSelector",
    ),
    (
        Reason.UNSCHEDULABLE,
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint(s) {node-role.kubernetes.io/"
            "control-plane: }."
        ),
        "control plane",
    ),
    (Reason.POD_EVICTED, "The node was low on resource: memory.", "requests.memory"),
    (Reason.POD_EVICTED, "The node had condition: [DiskPressure].", "disk of node n1"),
    (Reason.POD_EVICTED, "Pod was terminated in response to imminent node shutdown.", "Wait"),
    (Reason.POD_EVICTED, "Preempted in order to admit critical pod", "priorityClassName"),
    (
        Reason.POD_EVICTED,
        "(OutOfcpu): Node didn't have enough resource: cpu, requested: 1000",
        "requests",
    ),
    (
        Reason.IMAGE_PULL_FAILED,
        "InvalidImageName: couldn't parse image name: invalid reference format",
        "Correct the image's name in",
    ),
    (
        Reason.IMAGE_PULL_FAILED,
        "ErrImageNeverPull: Container image is not present with pull policy of Never",
        "Load the image",
    ),
    (Reason.IMAGE_PULL_FAILED, "429 Too Many Requests: toomanyrequests: limit", "Wait"),
    (
        Reason.IMAGE_PULL_FAILED,
        (
            "pull access denied, repository does not exist or may require authorization: server "
            "message: insufficient_scope: authorization failed"
        ),
        "imagePullSecrets",
    ),
    (Reason.IMAGE_PULL_FAILED, "write /var/lib: no space left on device", "Free room"),
    (Reason.IMAGE_PULL_FAILED, "no match for platform in manifest: not found", "processor"),
    (
        Reason.IMAGE_PULL_FAILED,
        "dial tcp: lookup registry.example: no such host",
        "reach the registry",
    ),
    (
        Reason.IMAGE_PULL_FAILED,
        'failed to resolve reference "r/lumen:9": r/lumen:9: not found',
        "name or tag",
    ),
    (
        Reason.START_FAILED,
        "couldn't find key token in Secret photos/hub-token",
        "Put the key",
    ),
    (Reason.START_FAILED, 'secret "hub-token" not found', "Create the Secret"),
    (
        Reason.START_FAILED,
        'FailedMount: MountVolume.SetUp failed for volume "x": secret "keys" not found',
        "Create the Secret",
    ),
    (Reason.START_FAILED, 'configmap "lists" not found', "Create the ConfigMap"),
    (
        Reason.START_FAILED,
        'FailedCreatePodSandBox: no runtime for "nvidia" is configured',
        "Install the runtime",
    ),
    (
        Reason.START_FAILED,
        "FailedCreatePodSandBox: runtime does not support user namespaces",
        "hostUsers: true",
    ),
    (
        Reason.START_FAILED,
        'FailedCreatePodSandBox: failed to setup network for sandbox "x": plugin type="calico"',
        "network plugin on node n1",
    ),
    (
        Reason.START_FAILED,
        'FailedAttachVolume: Multi-Attach error for volume "pvc-1"',
        "End the pod that holds the volume",
    ),
    (Reason.START_FAILED, "mkdir: no space left on device", "Free room"),
    (
        Reason.START_FAILED,
        'FailedMount: MountVolume.SetUp failed for volume "cache": driver not found',
        "its driver works on node n1",
    ),
    (
        Reason.START_FAILED,
        "container has runAsNonRoot and image will run as root",
        "as a user of their own",
    ),
    (
        Reason.START_FAILED,
        'exec: "python3": executable file not found in $PATH',
        "Name images of Lumen's",
    ),
]


@pytest.mark.parametrize(("reason", "said", "todo"), SAID, ids=lambda value: str(value)[:40])
def test_a_remedy_fits_its_cause(reason, said, todo):
    remedy = remedy_for(reason, said, FACTS)

    assert todo in remedy
    assert "<" not in remedy, "a fact that the remedy asks for is missing"


def test_every_cause_of_the_table_has_its_words_here():
    reached = {(reason, remedy_for(reason, said, FACTS)) for reason, said, _ in SAID}
    every = {
        (reason, re.sub(r"\{(\w+)\}", lambda m: FACTS[m[1]], cause.remedy))
        for reason, causes in CAUSES.items()
        for cause in causes
    }

    assert every == reached


@pytest.mark.parametrize("reason", [*CAUSES, *set(Reason) - CAUSES.keys()], ids=str)
def test_words_that_nobody_knows_get_the_reasons_own_remedy(reason):
    assert remedy_for(reason, "qwertz", FACTS) == reason.remedy(**FACTS)
