"""What to do about a finding, by what caused it: one table of reasons, words and remedies. Pure.

A reason says which step is not done; why is in the words of whoever refused it: the scheduler, the
kubelet, a registry, the API server. `finding.find` asks here. Of several causes in one message the
first of a reason is taken: those that stand nearest to the pod's own needs come first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lumen_manifest.conditions import Reason, filled


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: the words by which it is known, a pattern in lower case, and what to do about it.

    `{facts}` of its remedy are filled in by whoever makes the finding.
    """

    words: str
    remedy: str


_TERMINATED = Cause(
    "is being terminated",
    "Wait until namespace {namespace} is gone; then apply the manifest again.",
)
_WEBHOOK_AWAY = Cause(
    "failed calling webhook",
    "Bring the webhook that the message names back, or remove its configuration.",
)
_POLICY = Cause(
    "validatingadmissionpolicy|denied the request|denied request|admission webhook",
    "Change the policy that the message names so that it admits {object}, or change the spec.",
)

CAUSES: Mapping[Reason, tuple[Cause, ...]] = {
    Reason.CHILD_REFUSED: (
        Cause(
            "exceeded quota|failed quota",
            "Raise the quota that the message names, or remove objects of this kind that nobody "
            "needs.",
        ),
        Cause(
            "cannot (patch|create|get|delete|update) resource",
            "Give the operator its rights again: `helm upgrade` with the chart that it is from.",
        ),
        _TERMINATED,
        Cause(
            "field not declared in schema|unknown field|failed to create typed patch object",
            "Take the field that the message names out of spec.podTemplate: this cluster's API "
            "does not know it.",
        ),
        _WEBHOOK_AWAY,
        _POLICY,
        Cause(
            "is invalid|invalid value|unsupported value",
            "Correct in the spec, or in pool {pool}, the field that the message names.",
        ),
    ),
    Reason.PODS_FORBIDDEN: (
        Cause(
            "exceeded quota",
            "Raise the quota, remove what uses it up, or lower spec.replicas or spec.resources.",
        ),
        Cause("must specify", "Set in spec.resources what the quota asks for."),
        Cause(
            "usage per (container|pod)|limit to request ratio|must be less than or equal to",
            "Set spec.resources to what the namespace's LimitRange allows.",
        ),
        Cause(
            "podsecurity",
            "Label the namespace with a Pod Security level that admits what the message names "
            "(pod-security.kubernetes.io/enforce), or use a pool that needs less.",
        ),
        Cause(
            "no priorityclass",
            "Create the PriorityClass that the message names, or correct "
            "spec.podTemplate.priorityClassName.",
        ),
        Cause(
            "runtimeclass",
            "Create the RuntimeClass that the message names, or correct runtimeClassName of pool "
            "{pool}.",
        ),
        Cause(
            "service ?account",
            "Create the ServiceAccount that the message names in namespace {namespace}; "
            "Kubernetes makes `default` by itself.",
        ),
        _TERMINATED,
        _WEBHOOK_AWAY,
        _POLICY,
    ),
    Reason.UNSCHEDULABLE: (
        Cause(
            "insufficient |too many pods",
            "Lower spec.resources.requests (docs/sizing.md has the defaults), free room on the "
            "nodes of pool {pool}, or add a node.",
        ),
        Cause(
            r"taint(\(s\))? \{node\.kubernetes\.io/unschedulable|were unschedulable",
            "Let pods onto the node again with `kubectl uncordon`, or add a node to pool {pool}.",
        ),
        Cause(
            r"taint(\(s\))? \{node\.kubernetes\.io/",
            "Bring the node back, or free what `kubectl describe node` says that it is short of; "
            "or add a node to pool {pool}.",
        ),
        Cause(
            "anti-affinity|pod affinity|topology spread",
            "Relax affinity or topologySpreadConstraints in spec.podTemplate, or add a node to "
            "pool {pool}.",
        ),
        Cause(
            r"taint(\(s\))? \{(?!node-role\.)",
            "Add the toleration to pool {pool} or to spec.podTemplate.tolerations, or remove the "
            "taint from a node of the pool.",
        ),
        Cause(
            "node affinity",
            "Correct nodeSelector and affinity in spec.podTemplate: no node of pool {pool} has "
            "what they ask for.",
        ),
        Cause(
            r"taint(\(s\))? \{node-role\.",
            "Add a node to pool {pool}, or the toleration that lets pods onto the control plane.",
        ),
    ),
    Reason.POD_EVICTED: (
        Cause(
            "resource: memory|outofmemory|low on memory",
            "Set spec.resources.requests.memory to what the server takes, so that it gets a node "
            "with room, or give node {node} more memory.",
        ),
        Cause(
            "ephemeral|diskpressure|inodes|disk",
            "Free room on the disk of node {node}, or give the cache a claim (spec.cache).",
        ),
        Cause("shutdown|shutting down", "Wait until node {node} is back, or add a node."),
        Cause(
            "preempt",
            "Give the service a higher spec.podTemplate.priorityClassName, or add a node to pool "
            "{pool}.",
        ),
        Cause(
            "outofcpu|outofpods|enough resource",
            "Lower spec.resources.requests, free room on node {node}, or add a node to pool "
            "{pool}.",
        ),
    ),
    Reason.IMAGE_PULL_FAILED: (
        Cause(
            "invalidimagename|invalid reference format|couldn't parse image",
            "Correct the image's name in the images of pool {pool}.",
        ),
        Cause(
            "errimageneverpull|pull policy of never",
            "Load the image onto node {node}, or let the chart's image.pullPolicy pull it.",
        ),
        Cause(
            "toomanyrequests|429|rate limit",
            "Wait, it is tried again by itself; or pull with an account of your own, by a Secret "
            "in spec.podTemplate.imagePullSecrets.",
        ),
        Cause(
            "unauthorized|authentication|authorization|denied|forbidden|basic auth",
            "Put a Secret that may pull the image into spec.podTemplate.imagePullSecrets, or "
            "correct its name in the images of pool {pool}.",
        ),
        Cause("no space left", "Free room on the disk of node {node}."),
        Cause(
            "no match for platform|no matching manifest",
            "Name an image for the processor of node {node} in the images of pool {pool}.",
        ),
        Cause(
            "no such host|time.?out|deadline exceeded|refused|unreachable|no route|x509|tls:"
            r"|\beof\b|reset by peer",
            "Let node {node} reach the registry: see its network, its proxy, and the certificates "
            "that its container runtime trusts.",
        ),
        Cause(
            "not found|manifest unknown|name unknown",
            "Correct the image's name or tag in the images of pool {pool}, or push the image.",
        ),
    ),
    Reason.START_FAILED: (
        Cause(
            "couldn't find key",
            "Put the key that the message names into the object that it names.",
        ),
        Cause(
            r'secret "?\S+ not found|secret not found',
            "Create the Secret that the message names in namespace {namespace}, or correct "
            "spec.model.source.secretRef.",
        ),
        Cause(
            r'configmap "?\S+ not found',
            "Create the ConfigMap that the message names in namespace {namespace}; those of "
            "Lumen's own are made anew by themselves.",
        ),
        Cause(
            "no runtime for|runtime ?handler",
            "Install the runtime that the message names on node {node}, or correct "
            "runtimeClassName of pool {pool}.",
        ),
        Cause(
            "user namespace|userns|idmap",
            "Turn on user namespaces on node {node}, or set podSecurity.hostUsers: true in pool "
            "{pool}.",
        ),
        Cause(
            r"\bcni\b|network for (pod )?sandbox|setup network",
            "Repair the network plugin on node {node}.",
        ),
        Cause(
            "multi-attach|exclusively attached",
            "End the pod that holds the volume on its other node, or use a claim that several "
            "nodes may mount.",
        ),
        Cause("no space left", "Free room on the disk of node {node}."),
        Cause(
            "mount|attach|volume",
            "See that the volume exists and that its driver works on node {node}.",
        ),
        Cause(
            "non-root|runasnonroot",
            "Name images of Lumen's in pool {pool}, or others that run as a user of their own.",
        ),
        Cause(
            "executable file not found|no such file or directory|exec format|exec:",
            "Name images of Lumen's for the processor of node {node} in pool {pool}.",
        ),
    ),
}


def remedy_for(reason: Reason, said: str, facts: Mapping[str, str]) -> str:
    """Return what to do about a reason: by the cause that `said` tells of, else in general."""
    text = said.lower()
    for cause in CAUSES.get(reason, ()):
        if re.search(cause.words, text):
            return filled(cause.remedy, facts)
    return reason.remedy(**facts)
