"""What is known of the objects of one kind: reduced, bounded, kept by namespace and name.

A Reflector tells a Store, router and operator read it. No network, no clock. What cannot be kept of
an object is left out alone, so that nobody's object takes more memory than is his due or breaks
who compares, writes or walks it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from lumen_cluster.kinds import Event, EventType, Raw

KEPT_MAX_BYTES: Final = 256 * 1024
"""As JSON. A spec has 64 KiB at most; beside it stand a status and the labels."""
LABELS_MAX: Final = 64

ODD: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading an object of an unexpected shape may raise."""

Name = tuple[str, str]
"""Namespace and name; the namespace of a cluster-scoped object is empty."""

_LEFT_OUT = "leftOut"
_IDENTITY = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
)


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


class Store:
    """The objects of one kind; they are replaced, never changed.

    `reduce` returns of an object what is read of it: the rest needs no memory, and where it takes
    the version away, a change of the rest is none. What was known stays while the API server is
    away; `listed` tells whether anything ever was. `on_change` is called with every change that the
    API server tells, and with None once all were listed for the first time.
    """

    def __init__(
        self,
        reduce: Callable[[Raw], Raw],
        on_change: Callable[[Change | None], object] = lambda _: None,
    ) -> None:
        self.objects: dict[Name, Raw] = {}
        self.listed = False
        self.on_change = on_change
        self._reduce = reduce

    def get(self, name: Name) -> Raw | None:
        """Return what is kept of one object."""
        return self.objects.get(name)

    def versions(self) -> dict[Name, Version]:
        """Return the version that is kept of every object."""
        return {name: version_of(raw) for name, raw in self.objects.items()}

    def keep(self, raw: Raw) -> Raw:
        """Reduce an object to what is kept of it; of one that cannot be kept, whose it is."""
        try:
            kept = self._reduce(raw)
            why = reason_to_leave_out(kept)
        except ODD:
            why = "it holds what nobody can read: correct it"
        return left_out(raw, why) if why else kept

    def replace(self, objects: Sequence[Raw], version: str) -> None:
        """Take over a whole list, of what `keep` returned, as it was at a version."""
        for kept in objects:
            self._tell(self.put(kept, reduced=True))
        names, newest = {name_of(kept) for kept in objects}, number_of(version)
        for name, known in self.versions().items():
            # What was written by ourselves since may be newer than the list.
            if name not in names and known.number <= newest:
                self._tell(self.drop(name, known.uid))
        if not self.listed:
            self.listed = True
            self.on_change(None)

    def apply(self, event: Event) -> None:
        """Take over one report, of what `keep` returned; bookmarks are none."""
        raw = event.object
        if event.type is EventType.DELETED:
            self._tell(self.drop(name_of(raw), uid_of(raw)))
        else:
            self._tell(self.put(raw, reduced=True))

    def put(self, raw: Raw, *, reduced: bool = False) -> Change | None:
        """Keep an object, such as a write was answered with; None when it is no news."""
        name = name_of(raw)
        head = self.objects.get(name)
        if head is not None and not _newer(raw, head):
            return None
        kept = raw if reduced else self.keep(raw)
        if head == kept:
            return None
        before = self.get(name)
        self._write(name, kept)
        return Change(before, kept)

    def drop(self, name: Name, uid: str) -> Change | None:
        """Forget an object that is gone; None when it, or its successor, was not kept."""
        before = self.get(name)
        if before is None or uid_of(before) != uid:
            return None
        self._erase(name)
        return Change(before, None)

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self.on_change(change)

    def _write(self, name: Name, kept: Raw) -> None:
        self.objects[name] = kept

    def _erase(self, name: Name) -> None:
        del self.objects[name]


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


def reason_to_leave_out(kept: Raw) -> str:
    """Return why an object cannot be kept, empty when it can."""
    try:
        size = len(orjson.dumps(kept))
    except (TypeError, RecursionError):
        return "a value in it is nested too deeply, or is too large a number: remove it"
    if size > KEPT_MAX_BYTES:
        return f"it is larger than {KEPT_MAX_BYTES >> 10} KiB: make it smaller"
    return ""


def identity(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an object's metadata what says which object it is and which state of it."""
    return {key: metadata[key] for key in _IDENTITY if key in metadata}


def left_out(raw: Raw, why: str) -> Raw:
    """Return what stands for an object that is left out: whose it is, and why."""
    known = raw.get("metadata")
    metadata: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
    labels = metadata.get("labels")
    few = dict(islice(labels.items(), LABELS_MAX)) if isinstance(labels, Mapping) else {}
    return {
        **{key: raw[key] for key in ("apiVersion", "kind") if key in raw},
        "metadata": {
            **identity(metadata),
            **({"labels": few} if few else {}),
        },
        _LEFT_OUT: why,
    }


def why_left_out(kept: Raw) -> str:
    """Return why an object was left out, empty when it was not."""
    return str(kept.get(_LEFT_OUT, ""))
