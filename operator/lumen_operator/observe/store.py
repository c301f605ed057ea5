"""What the watches said, kept in plain dictionaries: all that decisions are made from.

`event_handler` has it followed and `audit` purges what a cut watch failed to report as deleted.
Objects are kept as the API server sent them, less what nobody reads. A spec of 64 KiB is a megabyte
of Python objects, and a tenth as text: the large ones are packed, and a head is kept of them, what
is read of every object at once.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import orjson

from lumen_cluster.kinds import NODES, PODS, REPLICA_SETS, Event, ObjectKind, Raw
from lumen_cluster.store import Change, Name, Store, Version, identity
from lumen_manifest.caller_names import CallerNames
from lumen_manifest.names import SERVICE_LABEL
from lumen_operator.observe import decode
from lumen_operator.observe.decode import POD_LABELS, ROLLOUT_ANNOTATION
from lumen_operator.observe.kinds import CHILD_KINDS, OWN_KINDS, SERVICES, WATCHED_KINDS
from lumen_operator.observe.managed_fields import kept_owners

_PACKED = frozenset({SERVICES, REPLICA_SETS, *CHILD_KINDS})
"""Of the other kinds, every object is read at once for what stands deep in it."""
_VOLUMES = frozenset({"configMap", "persistentVolumeClaim"})
PACK_BYTES = 8 * 1024
"""As JSON; a service with its usual fields has two to three KiB, its Deployment six."""
_LEVEL = 1
_SHORT = 256


class KindStore(Store):
    """The objects of one kind, and an index over the label lumen.dev/service.

    Of services, `callers` has by namespace who is meant by which name.

    Of an object that is packed, `objects` and the index have the head. `on_event` is called with
    every report of the watch.
    """

    def __init__(self, kind: ObjectKind) -> None:
        super().__init__(partial(trimmed, kind))
        self.on_event: Callable[[], object] = lambda: None
        self.packed: dict[Name, bytes] = {}
        self.by_service: dict[Name, dict[str, Raw]] = {}
        self.callers: defaultdict[str, CallerNames] = defaultdict(CallerNames)
        self._packs = kind in _PACKED
        self._names = kind == SERVICES

    def get(self, name: Name) -> Raw | None:
        """Return one object, whole."""
        text = self.packed.get(name)
        return unpacked(text) if text else self.objects.get(name)

    def of_service(self, service: Name) -> tuple[Raw, ...]:
        """Return the objects whose label names the service."""
        found = self.by_service.get(service, {})
        if not self.packed:
            return tuple(found.values())
        whole = (self.get((service[0], name)) for name in found)
        return tuple(raw for raw in whole if raw is not None)

    def apply(self, event: Event) -> None:
        """Take over one report."""
        self.on_event()
        super().apply(event)

    def _write(self, name: Name, kept: Raw) -> None:
        if name in self.objects:
            self._erase(name)
        text = packed(kept) if self._packs else None
        if text is not None:
            self.packed[name] = text
        head = self.objects[name] = kept if text is None else head_of(kept)
        if service := service_of(head):
            self.by_service.setdefault((name[0], service), {})[name[1]] = head
        if self._names and (claimant := decode.read_claimant(head)) is not None:
            self.callers[name[0]].put(claimant)

    def _erase(self, name: Name) -> None:
        self.packed.pop(name, None)
        if self._names:
            self.callers[name[0]].drop(name[1])
        if service := service_of(self.objects.pop(name)):
            siblings = self.by_service[name[0], service]
            del siblings[name[1]]
            if not siblings:
                del self.by_service[name[0], service]


class ObjectCache:
    """Every watched object, by kind and name."""

    def __init__(self) -> None:
        self.stores = {kind: KindStore(kind) for kind in WATCHED_KINDS}

    def get(self, kind: ObjectKind, namespace: str, name: str) -> Raw | None:
        """Return one object; the namespace of a cluster-scoped one is empty."""
        return self.stores[kind].get((namespace, name))

    def of_service(self, kind: ObjectKind, namespace: str, service: str) -> tuple[Raw, ...]:
        """Return the objects whose label lumen.dev/service names the service."""
        return self.stores[kind].of_service((namespace, service))

    def is_large(self, namespace: str, service: str) -> bool:
        """Return whether a service, or a child of it, is kept packed."""
        return (namespace, service) in self.stores[SERVICES].packed or any(
            (namespace, name) in store.packed
            for store in self.stores.values()
            if store.packed
            for name in store.by_service.get((namespace, service), ())
        )

    def all(self, kind: ObjectKind, namespace: str | None = None) -> tuple[Raw, ...]:
        """Return every object of a kind, of one namespace or of all; of a packed one its head."""
        objects = self.stores[kind].objects
        if namespace is None:
            return tuple(objects.values())
        return tuple(raw for (where, _), raw in objects.items() if where == namespace)

    def callers(self, namespace: str) -> CallerNames:
        """Return whom callers mean by the names of a namespace."""
        return self.stores[SERVICES].callers[namespace]

    def put(self, kind: ObjectKind, raw: Raw) -> Change | None:
        """Keep what a write was answered with; None when it is no news."""
        return self.stores[kind].put(raw)

    def drop(self, kind: ObjectKind, name: Name, uid: str) -> Change | None:
        """Forget an object that is gone; None when it, or its successor, was not kept."""
        return self.stores[kind].drop(name, uid)

    def versions(self, kind: ObjectKind) -> dict[Name, Version]:
        """Return the version that is kept of every object of a kind."""
        return self.stores[kind].versions()

    def sizes(self) -> Iterable[tuple[ObjectKind, int]]:
        """Return how many objects of each kind are kept."""
        return [(kind, len(store.objects)) for kind, store in self.stores.items()]


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


def packed(raw: Raw) -> bytes | None:
    """Return an object as compressed text; None when it is not worth it, or is not JSON."""
    try:
        text = orjson.dumps(raw)
    except TypeError:
        return None
    return zlib.compress(text, _LEVEL) if len(text) > PACK_BYTES else None


def unpacked(text: bytes) -> Raw:
    """Return the object that was packed."""
    found: Raw = orjson.loads(zlib.decompress(text))
    return found


def head_of(raw: Raw) -> Raw:
    """Return of an object what is read of many at once.

    That is whose it is, what callers may call it, short fields, conditions.
    """
    metadata = decode.mapping(raw, "metadata")
    spec, status = decode.mapping(raw, "spec"), decode.mapping(raw, "status")
    conditions = [_short(each) for each in decode.items(status, "conditions")]
    return {
        **_short(raw),
        "metadata": {k: v for k, v in metadata.items() if k != "managedFields"},
        "spec": {**_short(spec), **_names_of(spec)},
        "status": {**_short(status), "conditions": conditions},
    }


def _names_of(spec: Raw) -> Raw:
    """Return of a service's spec what `decode.read_claimant` reads beside short fields."""
    found = {"aliases": spec["aliases"]} if "aliases" in spec else {}
    model = decode.text(decode.mapping(spec, "model"), "name")
    return {**found, "model": {"name": model}} if model else found


def _short(raw: Raw) -> Raw:
    return {
        key: value
        for key, value in raw.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _SHORT)
    }
