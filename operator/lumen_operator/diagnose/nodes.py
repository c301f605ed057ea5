"""What a node does to its pods: it is not ready or gone, it evicted one, it cannot set one up.

Pure. The words are the node's own; what to do about them is in `causes`.
"""

from datetime import datetime, timedelta

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import PodView

SET_UP_WITHIN = timedelta(seconds=10)
"""Mounting and the sandbox take moments; after that, a pod's events are asked for what holds it."""
AVAILABLE, RESOURCES = ConditionType.AVAILABLE, ConditionType.RESOURCES_READY
_NOT_BEGUN = frozenset({"", "ContainerCreating", "PodInitializing"})
_CACHE_WORDS = ("emptydir", "volume")
"""What a kubelet evicts a pod for that is its own doing; the rest is the node's want."""


def node_lost(observed: Observed, pod: PodView) -> Finding | None:
    """Say that a pod's node is not ready or gone, which is why it neither serves nor ends."""
    host = observed.hosts.get(pod.node)
    if not pod.node or (host is not None and host.ready):
        return None
    does = "cannot end" if pod.terminating else "does not serve"
    if host is None:
        said = f"Pod {pod.name} {does}: its node {pod.node} is gone."
        remedy = "Wait: Kubernetes removes the pod by itself, and another is made."
        return find(AVAILABLE, Reason.NODE_NOT_READY, said, remedy=remedy)
    why = f": {host.trouble}" if host.trouble else ""
    said = f"Pod {pod.name} {does}: its node {pod.node} is not ready{why}"
    return find(AVAILABLE, Reason.NODE_NOT_READY, said, node=pod.node)


def why_over(service: LumenModelService, pool: LumenNodePool, pod: PodView) -> Finding | None:
    """Say why a node ended a pod, or did not take it in; None when nothing says that it did."""
    device, text = pool.spec.device, pod.message.lower()
    if not pod.reason:
        return None
    if pod.reason == "UnexpectedAdmissionError" and device is not None:
        said = f"Node {pod.node} refused pod {pod.name}: {pod.message}"
        remedy = f"See why the device plugin for {device.resource} lost the device."
        return find(ConditionType.DEVICE_READY, Reason.WAITING_FOR_DEVICE, said, remedy=remedy)
    if pod.reason == "Evicted" and any(word in text for word in _CACHE_WORDS):
        cache = service.spec.cache or pool.spec.cache
        said = f"Pod {pod.name} was evicted: {pod.message}"
        return find(RESOURCES, Reason.CACHE_EVICTED, said, needed=cache.size_limit)
    said = f"Node {pod.node or 'unknown'} ended pod {pod.name} ({pod.reason}): {pod.message}"
    return find(AVAILABLE, Reason.POD_EVICTED, said, node=pod.node or "NAME", pool=pool.name)


def is_being_set_up(pod: PodView) -> bool:
    """Return whether a pod has a node and none of its containers was ever begun."""
    if not pod.scheduled or not pod.node or pod.over or pod.terminating:
        return False
    return not any(
        each.running or each.ended or each.ended_before or each.waiting not in _NOT_BEGUN
        for each in pod.containers
    )


def not_set_up_by(pod: PodView, now: datetime) -> datetime:
    """Return by when a pod should have been set up."""
    return (pod.changed_at or pod.created_at or now) + SET_UP_WITHIN


def cannot_be_set_up(observed: Observed, pool: LumenNodePool, pod: PodView) -> Finding | None:
    """Pass on what a node says of a pod that it cannot set up; None when it says nothing."""
    words = observed.pod_words.get(pod.uid, "")
    if not words or not is_being_set_up(pod):
        return None
    said = f"Node {pod.node} cannot set up pod {pod.name}: {words}"
    return find(
        AVAILABLE,
        Reason.START_FAILED,
        said,
        node=pod.node,
        pool=pool.name,
        namespace=pod.namespace,
    )
