"""Which services and pools a change may concern: pure, from the object before and after.

It may name too many, never too few: a reconcile that finds nothing to do costs a millisecond. What
controllers count and kubelets report all day long, and no decision reads, concerns nobody.
"""

from collections.abc import Callable, Iterator, Mapping

from lumen_cluster.kinds import (
    CLAIMS,
    DEPLOYMENTS,
    HPAS,
    NODES,
    PODS,
    REPLICA_SETS,
    ObjectKind,
    Raw,
)
from lumen_cluster.store import name_of
from lumen_operator.observe import decode
from lumen_operator.observe.kinds import CHILD_KINDS, POOLS, SERVICES, Key
from lumen_operator.observe.store import ObjectCache, service_of


def map_to_keys(
    cache: ObjectCache, kind: ObjectKind, before: Raw | None, after: Raw | None
) -> set[Key]:
    """Return the keys whose decision may change; None stands for an object that is not there."""
    found: set[Key] = set()
    if before is not None and after is not None and _reads_alike(kind, before, after):
        return found
    for raw in (before, after):
        if raw is not None:
            found.update(_of_object(cache, kind, raw))
    if kind == SERVICES:
        found.update(_namesakes(cache, before, after))
    if kind == NODES:
        found.update(_of_node(cache, before, after))
    if kind == PODS and _pod_facts(before) != _pod_facts(after):
        found.update(tuple(_pools_of(cache, found)))
    return found


_READ: Mapping[ObjectKind, Callable[[Raw], object]] = {
    DEPLOYMENTS: decode.read_deployment,
    HPAS: decode.read_autoscaler,
    REPLICA_SETS: decode.read_replica_set,
    NODES: decode.read_node,
    CLAIMS: decode.read_claim,
}
"""What decisions read of an object besides what is compared with a manifest."""


def _reads_alike(kind: ObjectKind, before: Raw, after: Raw) -> bool:
    """Return whether decisions read the same of both states of an object.

    Pods, services and pools are not looked at: next to every change of theirs is read.
    """
    read = _READ.get(kind)
    if read is not None and read(before) != read(after):
        return False
    if kind in CHILD_KINDS:
        return decode.same_but_for_status(before, after)
    return read is not None and service_of(before) == service_of(after)


def _of_object(cache: ObjectCache, kind: ObjectKind, raw: Raw) -> Iterator[Key]:
    namespace, name = name_of(raw)
    if kind == SERVICES:
        yield Key("service", namespace, name)
    elif kind == POOLS:
        yield Key("pool", "", name)
        yield from _of_pool(cache, name)
    elif kind == CLAIMS:
        yield from _unready(cache, namespace)
    elif service := service_of(raw):
        yield Key("service", namespace, service)


def _namesakes(cache: ObjectCache, before: Raw | None, after: Raw | None) -> Iterator[Key]:
    """Name the other services whose names may be others, where this one's changed."""
    claims = [None if raw is None else decode.read_claimant(raw) for raw in (before, after)]
    if claims[0] == claims[1]:
        return
    namespace = name_of(before or after or {})[0]
    for claim in claims:
        if claim is not None:
            for service in cache.callers(namespace).concerned(claim):
                yield Key("service", namespace, service)


def _of_pool(cache: ObjectCache, pool: str) -> Iterator[Key]:
    for raw in cache.all(SERVICES):
        if _pool_of(raw) == pool:
            yield Key("service", *name_of(raw))


def _unready(cache: ObjectCache, namespace: str | None, pools: set[str] | None = None) -> set[Key]:
    """Name the services that wait for something, of a namespace or of pools."""
    return {
        Key("service", *name_of(raw))
        for raw in cache.all(SERVICES, namespace)
        if decode.text(decode.mapping(raw, "status"), "reason")
        and (pools is None or _pool_of(raw) in pools)
    }


def _of_node(cache: ObjectCache, before: Raw | None, after: Raw | None) -> Iterator[Key]:
    """Name the pools that select the node, or did, and their services that wait."""
    labels = [decode.labels_of(raw).items() for raw in (before, after) if raw is not None]
    pools = set()
    for raw in cache.all(POOLS):
        selector = decode.mapping(decode.mapping(raw, "spec"), "nodeSelector").items()
        if any(selector <= each for each in labels):
            pools.add(name_of(raw)[1])
            yield Key("pool", "", name_of(raw)[1])
    yield from _unready(cache, None, pools)


def _pools_of(cache: ObjectCache, keys: set[Key]) -> Iterator[Key]:
    for key in keys:
        raw = cache.get(SERVICES, key.namespace, key.name)
        if raw is not None and (pool := _pool_of(raw)):
            yield Key("pool", "", pool)


def _pool_of(raw: Raw) -> str:
    return decode.text(decode.mapping(raw, "spec"), "pool")


def _pod_facts(raw: Raw | None) -> object:
    """Return what a pool's count of devices reads of a pod."""
    if raw is None:
        return None
    status = decode.mapping(raw, "status")
    return decode.mapping(raw, "spec").get("nodeName"), status.get("phase") in {
        "Succeeded",
        "Failed",
    }
