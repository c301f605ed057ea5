"""What the watches said, kept in plain dictionaries: the Snapshot that decisions are made from.

`event_handler` feeds it and `audit` purges what a cut watch failed to report as deleted. Objects
are kept as the API server sent them, less what nobody reads, the large ones packed; they are
replaced, never changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lumen_cluster.kept import identity, left_out, reason_to_leave_out
from lumen_cluster.kinds import NODES, PODS, REPLICA_SETS, ObjectKind
from lumen_manifest.names import SERVICE_LABEL
from lumen_operator.observe import decode, packing
from lumen_operator.observe.decode import POD_LABELS, ROLLOUT_ANNOTATION
from lumen_operator.observe.kinds import CHILD_KINDS, OWN_KINDS, SERVICES, WATCHED_KINDS
from lumen_operator.observe.managed_fields import kept_owners

Raw = Mapping[str, Any]
Name = tuple[str, str]
"""Namespace and name; the namespace of a cluster-scoped object is empty."""

_PACKED = frozenset({SERVICES, REPLICA_SETS, *CHILD_KINDS})
"""Of the other kinds, every object is read at once for what stands deep in it."""
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
    """The objects of one kind, and an index over the label lumen.dev/service.

    Of an object that is packed, the others have the head.
    """

    objects: dict[Name, Raw] = field(default_factory=dict)
    packed: dict[Name, bytes] = field(default_factory=dict)
    by_service: dict[Name, dict[str, Raw]] = field(default_factory=dict)


class ObjectCache:
    """Every watched object, by kind and name; implements `gather.Snapshot`."""

    def __init__(self) -> None:
        self._shelves = {kind: _Shelf() for kind in WATCHED_KINDS}

    def get(self, kind: ObjectKind, namespace: str, name: str) -> Raw | None:
        """Return one object; the namespace of a cluster-scoped one is empty."""
        shelf = self._shelves[kind]
        packed = shelf.packed.get((namespace, name))
        return packing.unpacked(packed) if packed else shelf.objects.get((namespace, name))

    def of_service(self, kind: ObjectKind, namespace: str, service: str) -> tuple[Raw, ...]:
        """Return the objects whose label lumen.dev/service names the service."""
        shelf = self._shelves[kind]
        found = shelf.by_service.get((namespace, service), {})
        if not shelf.packed:
            return tuple(found.values())
        whole = (self.get(kind, namespace, name) for name in found)
        return tuple(raw for raw in whole if raw is not None)

    def is_large(self, namespace: str, service: str) -> bool:
        """Return whether a service, or a child of it, is kept packed."""
        return (namespace, service) in self._shelves[SERVICES].packed or any(
            (namespace, name) in shelf.packed
            for shelf in self._shelves.values()
            if shelf.packed
            for name in shelf.by_service.get((namespace, service), ())
        )

    def all(self, kind: ObjectKind, namespace: str | None = None) -> tuple[Raw, ...]:
        """Return every object of a kind, of one namespace or of all; of a packed one its head."""
        objects = self._shelves[kind].objects
        if namespace is None:
            return tuple(objects.values())
        return tuple(raw for (where, _), raw in objects.items() if where == namespace)

    def put(self, kind: ObjectKind, raw: Raw) -> Change | None:
        """Keep what a watch delivered, or a write was answered with; None when it is no news."""
        return self._replace(kind, _bounded(kind, raw)) if self._is_news(kind, raw) else None

    def keep(self, kind: ObjectKind, kept: Raw) -> Change | None:
        """Keep an object that is trimmed already; None when it is no news."""
        return self._replace(kind, kept) if self._is_news(kind, kept) else None

    def drop(self, kind: ObjectKind, name: Name, uid: str) -> Change | None:
        """Forget an object that is gone; None when it, or its successor, was not kept."""
        before = self.get(kind, *name)
        if before is None or uid_of(before) != uid:
            return None
        self._remove(kind, name)
        return Change(before, None)

    def versions(self, kind: ObjectKind) -> dict[Name, Version]:
        """Return the version that is kept of every object of a kind."""
        return {name: version_of(raw) for name, raw in self._shelves[kind].objects.items()}

    def sizes(self) -> Iterable[tuple[ObjectKind, int]]:
        """Return how many objects of each kind are kept."""
        return [(kind, len(shelf.objects)) for kind, shelf in self._shelves.items()]

    def _is_news(self, kind: ObjectKind, raw: Raw) -> bool:
        before = self._shelves[kind].objects.get(name_of(raw))
        return before is None or _newer(raw, before)

    def _replace(self, kind: ObjectKind, kept: Raw) -> Change:
        shelf, name = self._shelves[kind], name_of(kept)
        before = self.get(kind, *name)
        self._remove(kind, name)
        packed = packing.packed(kept) if kind in _PACKED else None
        if packed is not None:
            shelf.packed[name] = packed
        head = kept if packed is None else packing.head_of(kept)
        shelf.objects[name] = head
        if service := service_of(head):
            shelf.by_service.setdefault((name[0], service), {})[name[1]] = head
        return Change(before, kept)

    def _remove(self, kind: ObjectKind, name: Name) -> None:
        shelf = self._shelves[kind]
        shelf.packed.pop(name, None)
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
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 32 else 0


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


def trimmed(kind: ObjectKind, raw: Raw) -> Raw:
    """Leave out what nobody reads and what is large.

    Of our own kinds' metadata, what says which object it is and which state of it.
    Of managedFields, only those of children, and of them what `managed_fields` reads: others may
    fight with us, and what we apply no more has to be taken back. Of annotations, the one that
    counts rollouts. Pods and ReplicaSets are only ever read by `decode`: the labels that it
    reads, and of a pod's spec, where it runs and what it needs.
    """
    kept = {**raw, "metadata": _metadata(kind, raw.get("metadata") or {})}
    spec = decode.mapping(raw, "spec")
    if kind == NODES:
        status = decode.mapping(raw, "status")
        kept["status"] = {k: v for k, v in status.items() if k != "images"}
    elif kind == PODS and spec:
        kept["spec"] = _pod_spec(spec)
    elif kind == REPLICA_SETS and spec:
        template = decode.mapping(spec, "template")
        pod = _pod_spec(decode.mapping(template, "spec"))
        labels = {"labels": _pod_labels(decode.mapping(template, "metadata"))}
        kept["spec"] = {**spec, "template": {"metadata": labels, "spec": pod}}
    return kept


def _metadata(kind: ObjectKind, metadata: Raw) -> Raw:
    if kind in OWN_KINDS:
        return identity(metadata)
    kept = dict(metadata)
    owners = kept.pop("managedFields", None) or ()
    if kind in CHILD_KINDS:
        known = kept_owners(owners)
        kept |= {"managedFields": known} if known else {}
    if kind in {PODS, REPLICA_SETS}:
        # Whoever makes pods labels them as he likes: 200 KiB on each of thousands.
        kept |= {"labels": _pod_labels(metadata)} if "labels" in kept else {}
        first = list(decode.items(metadata, "ownerReferences"))[:1]
        kept |= {"ownerReferences": first} if first else {}
    notes = kept.pop("annotations", None) or {}
    if ROLLOUT_ANNOTATION in notes:
        kept["annotations"] = {ROLLOUT_ANNOTATION: notes[ROLLOUT_ANNOTATION]}
    return kept


def _pod_labels(metadata: Raw) -> Raw:
    labels = decode.mapping(metadata, "labels")
    return {name: labels[name] for name in POD_LABELS if name in labels}


def _bounded(kind: ObjectKind, raw: Raw) -> Raw:
    kept = trimmed(kind, raw)
    why = reason_to_leave_out(kept)
    return left_out(raw, why) if why else kept


def _pod_spec(spec: Raw) -> Raw:
    kept = {
        name: [_container(each) for each in decode.items(spec, name)]
        for name in ("initContainers", "containers")
    }
    volumes = [each for each in decode.items(spec, "volumes") if _VOLUMES & each.keys()]
    return {"nodeName": spec.get("nodeName"), "volumes": volumes, **kept}


def _container(raw: Raw) -> Raw:
    env = [each for each in decode.items(raw, "env") if "valueFrom" in each]
    return {"name": raw.get("name"), "resources": raw.get("resources"), "env": env}
