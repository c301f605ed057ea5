"""What is known about one service or one pool at this moment: gathered, never asked for.

`gather_service` and `gather_pool` read what the watches delivered, which `store` keeps, and what
pods said of themselves. Everything after them is pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lumen_cluster.kinds import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    HPAS,
    NODES,
    PODS,
    REPLICA_SETS,
    REVISIONS,
    ObjectKind,
    Raw,
)
from lumen_manifest.caller_names import CallerNames
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import PINS_INFIX, attached_name
from lumen_manifest.node_pool import LumenNodePool, NodePoolStatus
from lumen_manifest.spec.service_status import ModelServiceStatus
from lumen_operator.observe import decode, parse
from lumen_operator.observe.kinds import CHILD_KINDS, OBSERVED_KINDS, POOLS, SERVICES, Key
from lumen_operator.observe.store import ObjectCache
from lumen_operator.observe.views import (
    AutoscalerView,
    ClaimView,
    NodeView,
    PodReport,
    PodView,
    ReplicaSetView,
    RevisionView,
    VariantView,
)

Child = tuple[str, str]
"""Plural and name of an object that a service's manifests are compared with."""
_OfService = Mapping[ObjectKind, tuple[Raw, ...]]
"""The objects that carry a service's label, by kind."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A service whose pods hold devices of a pool."""

    namespace: str
    service: str
    devices: int
    pool: str = ""


@dataclass(frozen=True, slots=True)
class PinView:
    """A recorded pin: what the first verified pod of a model found.

    `model` is the digest of spec.model; a pin without `digest` knows the commit only.
    """

    name: str
    model: str
    revision: str
    digest: str
    embedding_space: str
    label_sets: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decisions about one service are made from.

    `service` is None when the spec cannot be used, `problem` then says why. `raw` is the object as
    stored, `status` the last one that was written. `children` are the plain objects, by plural and
    name, that rendering is compared with. `pools` has the pools that the spec and the stable
    revision name. `nodes` and `holders` are those of these pools; they are gathered only while a
    pod waits for a node or old pods go first. `hosts` has the nodes of pods that do not serve; one
    that is missing there is gone. `pod_words` has what nodes say of pods that they cannot set up.
    `variants` has what there is, by the variant's name.
    `clock_set_at` is what the clock that tells `now` said when it was set, None while nobody saw
    that. `callers` has the names of all services of the namespace.
    """

    key: Key
    raw: Raw
    now: datetime
    service: LumenModelService | None = None
    problem: str = ""
    status: ModelServiceStatus = field(default_factory=ModelServiceStatus)
    pools: Mapping[str, LumenNodePool] = field(default_factory=dict)
    children: Mapping[Child, Raw] = field(default_factory=dict)
    variants: Mapping[str, VariantView] = field(default_factory=dict)
    reports: Mapping[str, PodReport] = field(default_factory=dict)
    nodes: tuple[NodeView, ...] = ()
    hosts: Mapping[str, NodeView] = field(default_factory=dict)
    holders: tuple[Holder, ...] = ()
    claims: Mapping[str, ClaimView] = field(default_factory=dict)
    revisions: tuple[RevisionView, ...] = ()
    pins: Mapping[str, PinView] = field(default_factory=dict)
    autoscaler: AutoscalerView | None = None
    callers: CallerNames = field(default_factory=CallerNames)
    pod_words: Mapping[str, str] = field(default_factory=dict)
    clock_set_at: datetime | None = None

    def variant(self, name: str) -> VariantView:
        """Return what there is of a variant, nothing where it is not there yet."""
        return self.variants.get(name, VariantView())

    @property
    def pods(self) -> tuple[PodView, ...]:
        """All pods of the service, the oldest first."""
        every = (pod for each in self.variants.values() for pod in each.pods)
        return _oldest_first(every, self.now)

    @property
    def replica_sets(self) -> tuple[ReplicaSetView, ...]:
        """All ReplicaSets of the service."""
        return tuple(one for each in self.variants.values() for one in each.replica_sets)

    def counted_from(self, moment: datetime) -> datetime:
        """Return from when the time that has passed since a moment counts.

        How long before the clock was set a moment was, nobody knows: it counts from then on. A
        moment that is still to come, since the clock was set back, only makes patient.
        """
        return moment if self.clock_set_at is None else max(moment, self.clock_set_at)

    def counted_from_last(self, moments: Iterable[datetime | None]) -> datetime | None:
        """Return from when the time since the last of some moments counts; None without any."""
        last = decode.latest(iter(moments))
        return self.counted_from(last) if last is not None else None

    def nodes_of(self, pool: LumenNodePool) -> tuple[NodeView, ...]:
        """Return the nodes of one of the pools."""
        selector = pool.spec.node_selector.items()
        return tuple(node for node in self.nodes if selector <= node.labels.items())

    def holders_of(self, pool: LumenNodePool) -> tuple[Holder, ...]:
        """Return who holds devices of one of the pools."""
        return tuple(holder for holder in self.holders if holder.pool == pool.name)

    @property
    def generation(self) -> int:
        """The generation of the spec."""
        return decode.number(decode.mapping(self.raw, "metadata"), "generation")


@dataclass(frozen=True, slots=True)
class ObservedPool:
    """Everything that decisions about one pool are made from.

    `holders_known` is false where pods of one namespace are watched only: two operators that count
    devices, each its own namespace's, would overwrite each other for ever.
    """

    key: Key
    raw: Raw
    pool: LumenNodePool | None = None
    problem: str = ""
    status: NodePoolStatus = field(default_factory=NodePoolStatus)
    nodes: tuple[NodeView, ...] = ()
    holders: tuple[Holder, ...] = ()
    holders_known: bool = True


def gather_service(
    cache: ObjectCache, reports: Mapping[str, PodReport], key: Key, now: datetime
) -> Observed | None:
    """Gather what is known of a service; None when it is gone, or about to be."""
    raw = cache.get(SERVICES, key.namespace, key.name)
    if raw is None or decode.mapping(raw, "metadata").get("deletionTimestamp"):
        return None
    service, problem = parse.service(raw)
    status = parse.service_status(raw)
    mine = {kind: cache.of_service(kind, key.namespace, key.name) for kind in OBSERVED_KINDS}
    variants = _variants(mine, key, now)
    if service is None:
        return Observed(key, raw, now, problem=problem, status=status, variants=variants)
    revisions = tuple(decode.read_revision(each) for each in mine[REVISIONS])
    pools = _pools(cache, service, status, revisions)
    pods = [pod for each in variants.values() for pod in each.pods]
    deployments = [each.deployment for each in variants.values() if each.deployment is not None]
    stuck = any(p.unschedulable for p in pods) or not all(each.surges for each in deployments)
    nodes = _nodes(cache, pools.values()) if stuck else ()
    return Observed(
        key=key,
        raw=raw,
        now=now,
        service=service,
        status=status,
        pools=pools,
        children={(kind.plural, _name(raw)): raw for kind in CHILD_KINDS for raw in mine[kind]},
        variants=variants,
        reports={uid: reports[uid] for uid in _uids(key, service, pods) if uid in reports},
        nodes=nodes,
        hosts=_hosts(cache, pods),
        holders=_holders(cache, pools.values(), nodes) if stuck else (),
        claims=_claims(cache, key.namespace, pods),
        revisions=revisions,
        pins=_pins(mine),
        autoscaler=_autoscaler(mine, key),
        callers=cache.callers(key.namespace),
    )


def gather_pool(cache: ObjectCache, key: Key) -> ObservedPool | None:
    """Gather what is known of a pool; None when it is gone, or about to be."""
    raw = cache.get(POOLS, "", key.name)
    if raw is None or decode.mapping(raw, "metadata").get("deletionTimestamp"):
        return None
    pool, problem = parse.pool(raw)
    status = parse.pool_status(raw)
    if pool is None:
        return ObservedPool(key, raw, problem=problem, status=status)
    nodes = _nodes(cache, (pool,))
    return ObservedPool(
        key, raw, pool, status=status, nodes=nodes, holders=_holders(cache, (pool,), nodes)
    )


def external_uid(key: Key, address: str) -> str:
    """Name the server of an external service where a pod's uid is asked for.

    What was said at another address is another server's word.
    """
    return f"external/{key.namespace}/{key.name}/{address}"


def _uids(key: Key, service: LumenModelService, pods: Iterable[PodView]) -> Iterator[str]:
    if service.spec.external is not None:
        yield external_uid(key, service.spec.external)
    yield from (pod.uid for pod in pods)


def _variants(mine: _OfService, key: Key, now: datetime) -> dict[str, VariantView]:
    """Tell the variants apart: Deployments by their names, what is made of them by its label."""
    pods: defaultdict[str, list[PodView]] = defaultdict(list)
    for pod in map(decode.read_pod, mine[PODS]):
        if pod.template_hash:  # of a ReplicaSet; others that carry the label are not ours
            pods[pod.variant].append(pod)
    sets: defaultdict[str, list[ReplicaSetView]] = defaultdict(list)
    for each in map(decode.read_replica_set, mine[REPLICA_SETS]):
        sets[each.variant].append(each)
    deployments = {
        each.name.removeprefix(f"{key.name}-"): each
        for each in map(decode.read_deployment, mine[DEPLOYMENTS])
        if each.name.rpartition("-")[0] == key.name
    }
    return {
        name: VariantView(deployments.get(name), tuple(sets[name]), _oldest_first(pods[name], now))
        for name in sorted(deployments.keys() | sets.keys() | pods.keys())
    }


def _oldest_first(pods: Iterable[PodView], now: datetime) -> tuple[PodView, ...]:
    return tuple(sorted(pods, key=lambda pod: (pod.created_at or now, pod.name)))


def _autoscaler(mine: _OfService, key: Key) -> AutoscalerView | None:
    name = attached_name(key.name)  # others may carry the label too
    return next((decode.read_autoscaler(raw) for raw in mine[HPAS] if _name(raw) == name), None)


def _pools(
    cache: ObjectCache,
    service: LumenModelService,
    status: ModelServiceStatus,
    revisions: Iterable[RevisionView],
) -> dict[str, LumenNodePool]:
    names = {service.spec.pool or ""}
    names |= {
        decode.text(each.spec, "pool") for each in revisions if each.name == status.stable_revision
    }
    found: dict[str, LumenNodePool] = {}
    for name in sorted(names - {""}):
        raw = cache.get(POOLS, "", name)
        pool = parse.pool(raw)[0] if raw is not None else None
        if pool is not None:
            found[name] = pool
    return found


def _nodes(cache: ObjectCache, pools: Iterable[LumenNodePool]) -> tuple[NodeView, ...]:
    """Read the nodes of any of the pools."""
    selectors = [pool.spec.node_selector.items() for pool in pools]
    return tuple(
        decode.read_node(raw)
        for raw in cache.all(NODES)
        if any(selector <= decode.labels_of(raw).items() for selector in selectors)
    )


def _hosts(cache: ObjectCache, pods: Iterable[PodView]) -> dict[str, NodeView]:
    """Read the nodes that pods which do not serve are on, as far as they are there."""
    names = {pod.node for pod in pods if pod.node and not pod.serves}
    found = {name: cache.get(NODES, "", name) for name in sorted(names)}
    return {name: decode.read_node(raw) for name, raw in found.items() if raw is not None}


def _holders(
    cache: ObjectCache, pools: Iterable[LumenNodePool], nodes: Iterable[NodeView]
) -> tuple[Holder, ...]:
    """Count the devices of each pool's nodes that pods of services hold, most first."""
    labels = {node.name: node.labels for node in nodes}
    wanted = [(pool, pool.spec.device.resource) for pool in pools if pool.spec.device is not None]
    held: Counter[tuple[str, str, str]] = Counter()
    for raw in cache.all(PODS) if wanted else ():
        node = labels.get(decode.text(decode.mapping(raw, "spec"), "nodeName"))
        if node is None:
            continue
        pod = decode.read_pod(raw)
        for pool, resource in wanted:
            here = pool.spec.node_selector.items() <= node.items()
            if here and pod.service and not pod.over and resource in pod.requests:
                held[pool.name, pod.namespace, pod.service] += pod.requests[resource]
    return tuple(
        Holder(namespace, service, devices, pool)
        for (pool, namespace, service), devices in sorted(held.items(), key=lambda x: (-x[1], x[0]))
    )


def _claims(cache: ObjectCache, namespace: str, pods: Iterable[PodView]) -> dict[str, ClaimView]:
    names = {claim for pod in pods if not pod.serves for claim in pod.claims}
    found = {name: cache.get(CLAIMS, namespace, name) for name in sorted(names)}
    return {name: decode.read_claim(raw) for name, raw in found.items() if raw is not None}


def _pins(mine: _OfService) -> dict[str, PinView]:
    found: dict[str, PinView] = {}
    for raw in mine[CONFIG_MAPS]:
        name = _name(raw)
        data = decode.mapping(raw, "data")
        if PINS_INFIX in name and "revision" in data:
            found[name] = PinView(
                name=name,
                model=decode.text(data, "model"),
                revision=decode.text(data, "revision"),
                digest=decode.text(data, "digest"),
                embedding_space=decode.text(data, "embeddingSpace"),
                label_sets=decode.text(data, "labelSets"),
            )
    return found


def _name(raw: Raw) -> str:
    return decode.text(decode.mapping(raw, "metadata"), "name")
