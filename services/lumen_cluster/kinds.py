"""Objects as the API server tells of them: their kinds, where it serves them, lists and reports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Raw = Mapping[str, Any]


class EventType(StrEnum):
    """What a watch reports."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class Event:
    """One report of a watch. A bookmark's object holds nothing but a resource version."""

    type: EventType
    object: Raw


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the objects of a kind at one moment, and the version from which a watch goes on."""

    items: tuple[Raw, ...]
    version: str


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

    def __str__(self) -> str:
        """Name it as RBAC and kubectl do."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def describes(self, document: Mapping[str, Any]) -> bool:
        """Return whether an object is of this kind."""
        return bool(
            document.get("kind") == self.kind and document.get("apiVersion") == self.api_version
        )


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


@dataclass(frozen=True, slots=True)
class Resource:
    """The objects of a kind, of one namespace or, where that is empty, of all.

    `selector` is a label selector, empty for all objects.
    """

    kind: ObjectKind
    namespace: str = ""
    selector: str = ""

    @property
    def path(self) -> str:
        """Where the API server serves them."""
        return collection_path(self.kind, self.namespace)


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object, by name; `uid` guards against deleting its successor."""

    plural: str
    namespace: str
    name: str
    uid: str = ""


def collection_path(kind: ObjectKind, namespace: str) -> str:
    """Return the path of a kind's objects, of one namespace or of all."""
    where = f"namespaces/{namespace}/" if namespace else ""
    return f"/{'apis' if kind.group else 'api'}/{kind.api_version}/{where}{kind.plural}"


def object_path(kind: ObjectKind, namespace: str, name: str) -> str:
    """Return the path of one object."""
    return f"{collection_path(kind, namespace)}/{name}"


def kind_of(manifest: Mapping[str, Any], kinds: Iterable[ObjectKind]) -> ObjectKind:
    """Return which of the kinds a manifest is.

    Raises:
        KeyError: it is none of them.

    """
    for kind in kinds:
        if kind.describes(manifest):
            return kind
    raise KeyError(f"{manifest.get('apiVersion')} {manifest.get('kind')}")


def by_plural(plural: str, kinds: Iterable[ObjectKind]) -> ObjectKind:
    """Return the one of the kinds that has this plural."""
    return next(kind for kind in kinds if kind.plural == plural)
