"""The kinds of objects that are watched or written, and the keys of the work queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lumen_manifest.names import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A kind as the API server names it; `group` is empty for core/v1."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The value of `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def describes(self, document: Mapping[str, Any]) -> bool:
        """Return whether an object is of this kind."""
        return bool(
            document.get("kind") == self.kind and document.get("apiVersion") == self.api_version
        )


SERVICES = ObjectKind(GROUP, VERSION, "LumenModelService", "lumenmodelservices")
POOLS = ObjectKind(GROUP, VERSION, "LumenNodePool", "lumennodepools", namespaced=False)

REVISIONS = ObjectKind("apps", "v1", "ControllerRevision", "controllerrevisions")
CONFIG_MAPS = ObjectKind("", "v1", "ConfigMap", "configmaps")
NETWORK_POLICIES = ObjectKind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
HEADLESS = ObjectKind("", "v1", "Service", "services")
DEPLOYMENTS = ObjectKind("apps", "v1", "Deployment", "deployments")
PDBS = ObjectKind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
HPAS = ObjectKind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")

REPLICA_SETS = ObjectKind("apps", "v1", "ReplicaSet", "replicasets")
PODS = ObjectKind("", "v1", "Pod", "pods")
NODES = ObjectKind("", "v1", "Node", "nodes", namespaced=False)
CLAIMS = ObjectKind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")

EVENTS = ObjectKind("events.k8s.io", "v1", "Event", "events")
LEASES = ObjectKind("coordination.k8s.io", "v1", "Lease", "leases")

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


def kind_of(manifest: Mapping[str, Any]) -> ObjectKind:
    """Return the kind of a child's manifest.

    Raises:
        KeyError: it is no kind that is written here.

    """
    for kind in (*CHILD_KINDS, SERVICES, POOLS):
        if kind.describes(manifest):
            return kind
    raise KeyError(f"{manifest.get('apiVersion')} {manifest.get('kind')}")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What the work queue carries: one service or one pool; a pool's namespace is empty."""

    kind: Literal["service", "pool"]
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object, by name; `uid` guards against deleting its successor."""

    plural: str
    namespace: str
    name: str
    uid: str = ""
