"""The status of a pool: its nodes, its devices, and whether pods can run there."""

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.node_pool import DeviceCounts, LumenNodePool, NodePoolStatus
from lumen_operator.diagnose.finding import Finding, counted, find
from lumen_operator.diagnose.scheduling import no_node_in_pool, nothing_offered
from lumen_operator.observe.gather import ObservedPool
from lumen_operator.status.statements import ConditionState, fails, holds


def pool_statements(observed: ObservedPool) -> dict[ConditionType, ConditionState]:
    """State whether the pool's spec can be used, and whether it has somewhere to run pods."""
    if observed.pool is None:
        problem = find(ConditionType.ACCEPTED, Reason.INVALID_SPEC, observed.problem)
        return {ConditionType.ACCEPTED: fails(problem), ConditionType.READY: fails(problem)}
    missing = _missing(observed, observed.pool)
    ready = sum(node.ready for node in observed.nodes)
    nodes = counted(len(observed.nodes), "node")
    said = f"{ready} of {nodes} with the pool's labels {'is' if ready == 1 else 'are'} ready."
    return {
        ConditionType.ACCEPTED: holds(Reason.ACCEPTED, "The pool's spec is understood."),
        ConditionType.READY: fails(missing) if missing else holds(Reason.READY, said),
    }


def pool_counts(observed: ObservedPool) -> NodePoolStatus:
    """Count nodes, and devices where their holders are known; a node has to be ready to offer."""
    status = observed.status.model_copy(update={"nodes": len(observed.nodes)})
    device = observed.pool.spec.device if observed.pool is not None else None
    if device is None or not observed.holders_known:
        return status.model_copy(update={"devices": None, "devices_free": ""})
    offered = sum(n.allocatable.get(device.resource, 0) for n in observed.nodes if n.ready)
    held = sum(holder.devices for holder in observed.holders)
    return status.model_copy(
        update={
            "devices": DeviceCounts(allocatable=offered, allocated=held),
            "devices_free": f"{max(0, offered - held)}/{offered}",
        }
    )


def _missing(observed: ObservedPool, pool: LumenNodePool) -> Finding | None:
    if not observed.nodes:
        return no_node_in_pool(pool)
    if not any(node.ready for node in observed.nodes):
        first = observed.nodes[0]
        said = f"No node of pool {pool.name} is ready; {first.name}: {first.trouble}"
        return find(ConditionType.READY, Reason.NODE_NOT_READY, said, node=first.name)
    return nothing_offered(observed.nodes, pool)
