"""Why a pod has no node: the scheduler's one sentence, taken apart by what else is observed.

A volume, no node in the pool, and no free device have names of their own, since each has its own
remedy; for the rest the scheduler's words are passed on.
"""

from collections.abc import Collection, Iterator

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.node_pool import LumenNodePool
from lumen_operator.diagnose.finding import Finding, counted, find
from lumen_operator.observe.gather import Holder, Observed
from lumen_operator.observe.views import NodeView, PodView

SHARING = (
    "Free it, add a node, or share the card: the NVIDIA device plugin's configuration "
    "`sharing: {timeSlicing: {renameByDefault: true, resources: "
    "[{name: nvidia.com/gpu, replicas: 4}]}}` offers nvidia.com/gpu.shared, which a pool may name "
    "(docs/pools.md#sharing)."
)
HOLDERS_NAMED = 8

_VOLUME_WORDS = ("persistentvolumeclaim", "persistent volume", "volume node affinity")


def why_unscheduled(observed: Observed, pool: LumenNodePool, pod: PodView) -> Finding:
    """Say why a pod waits for a node."""
    return (
        volume_not_bound(observed, pod)
        or _no_node(observed, pool)
        or _no_device(observed, pool, pod)
        or find(
            ConditionType.AVAILABLE,
            Reason.UNSCHEDULABLE,
            f"No node takes pod {pod.name}: {pod.unschedulable}",
            pool=pool.name,
        )
    )


def volume_not_bound(observed: Observed, pod: PodView) -> Finding | None:
    """Name the claim that a pod waits for; None when it waits for none."""
    scheduler_says = any(word in pod.unschedulable.lower() for word in _VOLUME_WORDS)
    for claim in sorted(pod.claims):
        view = observed.claims.get(claim)
        if view is not None and not (scheduler_says and view.phase != "Bound"):
            continue
        state = "does not exist" if view is None else f"is {view.phase or 'not bound'}"
        said = f"Pod {pod.name} mounts claim {claim}, which {state}."
        return find(ConditionType.RESOURCES_READY, Reason.VOLUME_NOT_BOUND, said, claim=claim)
    if scheduler_says and pod.claims:
        claim = min(pod.claims)
        return find(
            ConditionType.RESOURCES_READY, Reason.VOLUME_NOT_BOUND, pod.unschedulable, claim=claim
        )
    return None


def wants_device(pod: PodView, pool: LumenNodePool) -> bool:
    """Return whether a pod waits for want of the pool's device."""
    device = pool.spec.device
    return device is not None and f"Insufficient {device.resource}" in pod.unschedulable


def pods_forbidden(said: str, pool: LumenNodePool, namespace: str) -> Finding:
    """Say why the cluster admits no pods, in its words."""
    return find(
        ConditionType.AVAILABLE,
        Reason.PODS_FORBIDDEN,
        said,
        pool=pool.name,
        namespace=namespace,
        object="the pods",
    )


def no_node_in_pool(pool: LumenNodePool) -> Finding:
    """Say that no node has the pool's labels, and which they are."""
    selector = " ".join(f"{key}={value}" for key, value in sorted(pool.spec.node_selector.items()))
    if selector:
        said, remedy = f"Pool {pool.name} has no node: none is labelled {selector}.", None
    else:
        said, remedy = "The cluster has no nodes.", "Add a node."
    return find(
        ConditionType.DEVICE_READY, Reason.NO_NODE_IN_POOL, said, remedy=remedy, selector=selector
    )


def nothing_offered(nodes: Collection[NodeView], pool: LumenNodePool) -> Finding | None:
    """Say that the nodes offer none of the pool's device; None when they do, or there is none."""
    device = pool.spec.device
    if device is None or any(node.allocatable.get(device.resource) for node in nodes):
        return None
    return find(
        ConditionType.DEVICE_READY,
        Reason.WAITING_FOR_DEVICE,
        f"No node of pool {pool.name} offers {device.resource}; "
        f"its labels are on {counted(len(nodes), 'node')}.",
        remedy="Install the device plugin on these nodes, or see why it finds no device.",
    )


def _no_node(observed: Observed, pool: LumenNodePool) -> Finding | None:
    return None if observed.nodes_of(pool) else no_node_in_pool(pool)


def _no_device(observed: Observed, pool: LumenNodePool, pod: PodView) -> Finding | None:
    device = pool.spec.device
    if device is None or not wants_device(pod, pool):
        return None
    nodes = observed.nodes_of(pool)
    nothing = nothing_offered(nodes, pool)
    if nothing is not None:
        return nothing
    offered = sum(node.allocatable.get(device.resource, 0) for node in nodes)
    held = ", ".join(_named(observed.holders_of(pool))) or "pods that are not Lumen's"
    said = f"Every {device.resource} of pool {pool.name} is in use ({offered} in all)"
    each = f", and each pod takes {device.count}" if device.count > 1 else ""
    return find(
        ConditionType.DEVICE_READY,
        Reason.WAITING_FOR_DEVICE,
        f"{said}{each}; held by {held}",
        remedy=SHARING if device.resource.startswith("nvidia.com/") else None,
    )


def _named(holders: tuple[Holder, ...]) -> Iterator[str]:
    for holder in holders[:HOLDERS_NAMED]:
        yield f"{holder.namespace}/{holder.service} ({holder.devices})"
    if len(holders) > HOLDERS_NAMED:
        yield counted(len(holders) - HOLDERS_NAMED, "more service")
