"""What is known about one service or one pool at this moment: gathered, never asked for.

`gather_service` and `gather_pool` read what the watches delivered (`Snapshot`, which `cache`
implements) and what pods said of themselves. Everything after them is pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from lumen_manifest.model_service import LumenModelService, ModelServiceStatus
from lumen_manifest.node_pool import LumenNodePool, NodePoolStatus
from lumen_operator.kinds import Key, Kind
from lumen_operator.views import (
    AutoscalerView,
    ClaimView,
    DeploymentView,
    NodeView,
    PodReport,
    PodView,
    ReplicaSetView,
    RevisionView,
)

Raw = Mapping[str, Any]


class Snapshot(Protocol):
    """What the watches delivered, answered from memory."""

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        """Return one object; the namespace of a cluster-scoped one is empty."""

    def of_service(self, kind: Kind, namespace: str, service: str) -> tuple[Raw, ...]:
        """Return the objects whose label lumen.dev/service names the service."""

    def all(self, kind: Kind, namespace: str | None = None) -> tuple[Raw, ...]:
        """Return every object of a kind, of one namespace or of all."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A service whose pods hold devices of a pool."""

    namespace: str
    service: str
    devices: int


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


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decisions about one service are made from.

    `service` is None when the spec cannot be used, `problem` then says why. `raw` is the object as
    stored, `status` the last one that was written. `children` are the plain objects, by plural and
    name, that rendering is compared with. `pools` has the pools that the spec and the stable
    revision name. `nodes` and `holders` are those of the spec's pool; they are gathered only while
    a pod is missing or waits. `pods` are all of the service, the oldest first.
    """

    key: Key
    raw: Raw
    now: datetime
    service: LumenModelService | None = None
    problem: str = ""
    status: ModelServiceStatus = ModelServiceStatus()
    pools: Mapping[str, LumenNodePool] = field(default_factory=dict)
    children: Mapping[tuple[str, str], Raw] = field(default_factory=dict)
    deployment: DeploymentView | None = None
    replica_sets: tuple[ReplicaSetView, ...] = ()
    pods: tuple[PodView, ...] = ()
    reports: Mapping[str, PodReport] = field(default_factory=dict)
    nodes: tuple[NodeView, ...] = ()
    holders: tuple[Holder, ...] = ()
    claims: Mapping[str, ClaimView] = field(default_factory=dict)
    revisions: tuple[RevisionView, ...] = ()
    pins: Mapping[str, PinView] = field(default_factory=dict)
    autoscaler: AutoscalerView | None = None
    older_default: str = ""

    @property
    def generation(self) -> int:
        """The generation of the spec."""
        value = (self.raw.get("metadata") or {}).get("generation")
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class ObservedPool:
    """Everything that decisions about one pool are made from."""

    key: Key
    raw: Raw
    pool: LumenNodePool | None = None
    problem: str = ""
    status: NodePoolStatus = NodePoolStatus()
    nodes: tuple[NodeView, ...] = ()
    holders: tuple[Holder, ...] = ()


def gather_service(
    snapshot: Snapshot, reports: Mapping[str, PodReport], key: Key, now: datetime
) -> Observed | None:
    """Gather what is known of a service; None when it is gone, or about to be."""
    raise NotImplementedError


def gather_pool(snapshot: Snapshot, key: Key) -> ObservedPool | None:
    """Gather what is known of a pool; None when it is gone, or about to be."""
    raise NotImplementedError
