"""What the watches said, kept in plain dictionaries: the Snapshot that decisions are made from.

`handlers` feeds it and `audit` purges what a cut watch failed to report as deleted. Objects are
kept as the API server sent them, less what nobody reads; they are replaced, never changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lumen_manifest.names import SERVICE_LABEL
from lumen_operator import raw_objects
from lumen_operator.field_owners import kept_owners
from lumen_operator.kinds import CHILD_KINDS, NODES, PODS, REPLICA_SETS, WATCHED_KINDS, Kind

Raw = Mapping[str, Any]
Name = tuple[str, str]
"""Namespace and name; the namespace of a cluster-scoped object is empty."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_VOLUMES = frozenset({"configMap", "persistentVolumeClaim"})


@dataclass(frozen=True, slots=True)
class Version:
    """Which object it is, and which state of it."""

    uid: str
    number: int


@dataclass(frozen=True, slots=True)
class Change:
    """What an object was and is; None where it was not there."""

    before: Raw | None
    after: Raw | None


@dataclass(slots=True)
class _Shelf:
    """The objects of one kind, and an index over the label lumen.dev/service."""

    objects: dict[Name, Raw] = field(default_factory=dict)
    by_service: dict[Name, dict[str, Raw]] = field(default_factory=dict)


class Cache:
    """Every watched object, by kind and name; implements `observe.Snapshot`."""

    def __init__(self) -> None:
        self._shelves = {kind: _Shelf() for kind in WATCHED_KINDS}

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        """Return one object; the namespace of a cluster-scoped one is empty."""
        return self._shelves[kind].objects.get((namespace, name))

    def of_service(self, kind: Kind, namespace: str, service: str) -> tuple[Raw, ...]:
        """Return the objects whose label lumen.dev/service names the service."""
        return tuple(self._shelves[kind].by_service.get((namespace, service), {}).values())

    def all(self, kind: Kind, namespace: str | None = None) -> tuple[Raw, ...]:
        """Return every object of a kind, of one namespace or of all."""
        objects = self._shelves[kind].objects
        if namespace is None:
            return tuple(objects.values())
        return tuple(raw for (where, _), raw in objects.items() if where == namespace)

    def put(self, kind: Kind, raw: Raw) -> Change | None:
        """Keep what a watch delivered, or a write was answered with; None when it is no news."""
        return self._replace(kind, trimmed(kind, raw)) if self._is_news(kind, raw) else None

    def keep(self, kind: Kind, kept: Raw) -> Change | None:
        """Keep an object that is trimmed already; None when it is no news."""
        return self._replace(kind, kept) if self._is_news(kind, kept) else None

    def drop(self, kind: Kind, name: Name, uid: str) -> Change | None:
        """Forget an object that is gone; None when it, or its successor, was not kept."""
        before = self._shelves[kind].objects.get(name)
        if before is None or uid_of(before) != uid:
            return None
        self._remove(kind, name)
        return Change(before, None)

    def versions(self, kind: Kind) -> dict[Name, Version]:
        """Return the version that is kept of every object of a kind."""
        return {name: version_of(raw) for name, raw in self._shelves[kind].objects.items()}

    def sizes(self) -> Iterable[tuple[Kind, int]]:
        """Return how many objects of each kind are kept."""
        return [(kind, len(shelf.objects)) for kind, shelf in self._shelves.items()]

    def _is_news(self, kind: Kind, raw: Raw) -> bool:
        before = self._shelves[kind].objects.get(name_of(raw))
        return before is None or _newer(raw, before)

    def _replace(self, kind: Kind, kept: Raw) -> Change:
        shelf, name = self._shelves[kind], name_of(kept)
        before = shelf.objects.get(name)
        self._remove(kind, name)
        shelf.objects[name] = kept
        if service := service_of(kept):
            shelf.by_service.setdefault((name[0], service), {})[name[1]] = kept
        return Change(before, kept)

    def _remove(self, kind: Kind, name: Name) -> None:
        shelf = self._shelves[kind]
        before = shelf.objects.pop(name, None)
        if before is not None and (service := service_of(before)):
            siblings = shelf.by_service[name[0], service]
            del siblings[name[1]]
            if not siblings:
                del shelf.by_service[name[0], service]


def name_of(raw: Raw) -> Name:
    """Return an object's namespace and name."""
    metadata = raw.get("metadata") or {}
    return metadata.get("namespace", ""), metadata.get("name", "")


def uid_of(raw: Raw) -> str:
    """Return an object's uid, empty when it has none."""
    return str((raw.get("metadata") or {}).get("uid", ""))


def version_of(raw: Raw) -> Version:
    """Return an object's version."""
    return Version(uid_of(raw), number_of((raw.get("metadata") or {}).get("resourceVersion")))


def number_of(version: object) -> int:
    """Return a resourceVersion as a number: they count up; anything else counts as zero."""
    text = str(version)
    return int(text) if text.isascii() and text.isdecimal() else 0


def _newer(raw: Raw, before: Raw) -> bool:
    """Return whether it is another state than the kept one, and none from before it.

    A watch tells of a write after the write's own answer did; a successor of the name always counts
    as newer: its predecessor is never reported again.
    """
    new, old = version_of(raw), version_of(before)
    return new.uid != old.uid or new.number > old.number or 0 in {new.number, old.number}


def service_of(raw: Raw) -> str:
    """Return the service that the object's label names, empty when none."""
    labels = (raw.get("metadata") or {}).get("labels") or {}
    return str(labels.get(SERVICE_LABEL, ""))


def trimmed(kind: Kind, raw: Raw) -> Raw:
    """Leave out what nobody reads and what is large.

    Of managedFields, only those of children are kept, and of them what `field_owners` reads: others
    may fight with us, and what we apply no more has to be taken back. Pods and ReplicaSets are only
    ever read by `raw_objects`: of a pod's spec, where it runs and what it needs.
    """
    metadata = dict(raw.get("metadata") or {})
    owners = metadata.pop("managedFields", None) or ()
    if kind in CHILD_KINDS:
        known = kept_owners(owners)
        metadata |= {"managedFields": known} if known else {}
    annotations = metadata.get("annotations") or {}
    if LAST_APPLIED in annotations:
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != LAST_APPLIED}
    kept = {**raw, "metadata": metadata}
    spec = raw_objects.mapping(raw, "spec")
    if kind == NODES:
        kept["status"] = {k: v for k, v in (raw.get("status") or {}).items() if k != "images"}
    elif kind == PODS and spec:
        kept["spec"] = _pod_spec(spec)
    elif kind == REPLICA_SETS and spec:
        template = raw_objects.mapping(spec, "template")
        pod = _pod_spec(raw_objects.mapping(template, "spec"))
        kept["spec"] = {**spec, "template": {**template, "spec": pod}}
    return kept


def _pod_spec(spec: Raw) -> Raw:
    kept = {
        name: [_container(each) for each in raw_objects.items(spec, name)]
        for name in ("initContainers", "containers")
    }
    volumes = [each for each in raw_objects.items(spec, "volumes") if _VOLUMES & each.keys()]
    return {"nodeName": spec.get("nodeName"), "volumes": volumes, **kept}


def _container(raw: Raw) -> Raw:
    env = [each for each in raw_objects.items(raw, "env") if "valueFrom" in each]
    return {"name": raw.get("name"), "resources": raw.get("resources"), "env": env}
