"""How many pods there shall be, and whether the new one comes before the old one goes. Pure.

A device that all pods of the pool hold already cannot be had for a new pod as well: there the old
pod drains first, one at a time, besides those that are missing for want of devices anyway.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from lumen_operator.diagnose.scheduling import wants_device
from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import PodView
from lumen_operator.rollout.model import Rollout, staying

PATIENCE = timedelta(seconds=30)
"""How long a pod may wait for a device that seems to be free, before the old one goes first."""


def with_steps(observed: Observed, found: Rollout) -> Rollout:
    """Decide how many pods there shall be, and who goes first: the new one or the old one."""
    found = replace(found, replicas=_replicas(observed, found))
    room = _room(observed, found)
    if room is None or not _old_ones_take_part(found):
        return found
    waiting = _waiting(observed, found)
    soon = max((_since(pod, observed) + PATIENCE for pod in waiting), default=None)
    deployment = observed.variant(found.target.name).deployment
    surges = deployment is None or deployment.surges
    if surges and not waiting:
        return found
    if surges and room > found.replicas and soon is not None and observed.now < soon:
        return replace(found, look_again=soon)
    return replace(found, surge=False, missing=max(0, found.replicas - room))


def _replicas(observed: Observed, found: Rollout) -> int:
    """Ask for one pod until it has shown which files all pods shall have.

    Where pods of another revision serve meanwhile, they stay: a rollout makes one new pod at first.
    """
    wanted = found.target.service.spec.replicas
    if found.pinned is not None:
        return wanted
    serving = any(pod.serves for pod in found.pods.old)
    deployment = observed.variant(found.target.name).deployment
    asked = deployment.asked if deployment is not None and serving else 1
    return min(wanted, max(asked, 1))


def _room(observed: Observed, found: Rollout) -> int | None:
    """Count the pods for which the pool has devices; None where pods need none.

    What other services and the service's other variants hold cannot be had.
    """
    pool = found.target.pool
    device = pool.spec.device
    if device is None:
        return None
    mine = (observed.key.namespace, observed.key.name)
    others = sum(
        holder.devices
        for holder in observed.holders_of(pool)
        if (holder.namespace, holder.service) != mine
    )
    nodes = observed.nodes_of(pool)
    there = {node.name for node in nodes}
    others += sum(
        pod.requests.get(device.resource, 0)
        for pod in observed.pods
        if pod.variant != found.target.name and pod.node in there and not pod.over
    )
    offered = sum(node.allocatable.get(device.resource, 0) for node in nodes if node.ready)
    return max(0, offered - others) // device.count


def _old_ones_take_part(found: Rollout) -> bool:
    """Return whether there are old pods left, and any of them holds or awaits a device."""
    return bool(staying(found.pods.old)) and any(_with_device(found, found.pods.old))


def _waiting(observed: Observed, found: Rollout) -> tuple[PodView, ...]:
    """Return the pods that wait for a device, but for those that a pod which ends will free."""
    pods = (*found.pods.fresh, *staying(found.pods.old))
    waiting = [pod for pod in pods if wants_device(pod, found.target.pool)]
    mine = _with_device(found, observed.variant(found.target.name).pods)
    freed = sum(pod.terminating and pod.scheduled for pod in mine)
    return tuple(waiting[freed:])


def _with_device(found: Rollout, pods: Iterable[PodView]) -> Iterable[PodView]:
    device = found.target.pool.spec.device
    return (pod for pod in pods if device is not None and device.resource in pod.requests)


def _since(pod: PodView, observed: Observed) -> datetime:
    return observed.counted_from(pod.changed_at or pod.created_at or observed.now)
