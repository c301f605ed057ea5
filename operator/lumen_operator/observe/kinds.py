"""The kinds of objects that the operator watches or writes, and the keys of the work queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lumen_cluster import kinds as cluster_kinds
from lumen_cluster.kinds import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    HEADLESS,
    HPAS,
    NETWORK_POLICIES,
    NODES,
    PDBS,
    PODS,
    REPLICA_SETS,
    REVISIONS,
    ObjectKind,
    Resource,
)
from lumen_manifest.names import GROUP, SERVICE_LABEL, VERSION

SERVICES = ObjectKind(GROUP, VERSION, "LumenModelService", "lumenmodelservices")
POOLS = ObjectKind(GROUP, VERSION, "LumenNodePool", "lumennodepools", namespaced=False)

CHILD_KINDS = (
    REVISIONS,
    CONFIG_MAPS,
    NETWORK_POLICIES,
    HEADLESS,
    PDBS,
    HPAS,
    DEPLOYMENTS,
)
"""What is written for a service, in the order in which to apply: pods start when all else is there.
"""

OBSERVED_KINDS = (*CHILD_KINDS, REPLICA_SETS, PODS)
"""What is watched by the label lumen.dev/service; children that others make are among them."""

OWN_KINDS = (SERVICES, POOLS)
"""Our custom resources."""

WATCHED_KINDS = (*OWN_KINDS, NODES, CLAIMS, *OBSERVED_KINDS)
"""Everything that is watched; ours, nodes and claims whole."""


WRITTEN_KINDS = (*CHILD_KINDS, *OWN_KINDS, EVENTS)
"""Everything that is ever written, but the Lease."""


def kind_of(manifest: Mapping[str, Any]) -> ObjectKind:
    """Return the kind of a manifest that the operator writes; raises KeyError for others."""
    return cluster_kinds.kind_of(manifest, WRITTEN_KINDS)


def watched(kind: ObjectKind, namespace: str) -> Resource:
    """Return what is watched of a kind, in one namespace or, if that is empty, in all.

    Children are watched by their label, the rest whole.
    """
    where = namespace if kind.namespaced else ""
    selector = SERVICE_LABEL if kind in OBSERVED_KINDS else ""
    return Resource(kind, where, selector)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What the work queue carries: one service or one pool; a pool's namespace is empty."""

    kind: Literal["service", "pool"]
    namespace: str
    name: str
