"""Events about services and pools, for `kubectl describe`: written once for each transition.

An event's name comes from what it says and of which state, so an operator that was killed before
it had written the status does not say it twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from lumen_cluster.kinds import EVENTS, ObjectKind
from lumen_manifest.names import FIELD_MANAGER, digest_of

NOTE_MAX_BYTES = 1024
NAME_MAX = 200
CLUSTER_SCOPED_IN = "default"
"""Where events about objects without a namespace must be."""


@dataclass(frozen=True, slots=True)
class EventNote:
    """One event to post about a service or pool; `reason` is a condition's."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def event_about(
    kind: ObjectKind, raw: Mapping[str, Any], note: EventNote, instance: str, now: datetime
) -> dict[str, Any]:
    """Write the Event object for a note about an object; `instance` is the operator's name."""
    metadata = raw["metadata"]
    namespace = metadata.get("namespace", "")
    said = (metadata["uid"], metadata.get("resourceVersion", ""), str(note.reason), note.message)
    regarding = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if namespace:
        regarding["namespace"] = namespace
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{metadata['name'][:NAME_MAX].rstrip('-.')}.{digest_of(said, 16)}",
            "namespace": namespace_of_events(raw),
        },
        "eventTime": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"lumen.dev/{FIELD_MANAGER}",
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": str(note.reason),
        "type": note.type,
        "note": _cut(note.message),
        "regarding": regarding,
    }


def namespace_of_events(raw: Mapping[str, Any]) -> str:
    """Return where events about an object have to be."""
    return raw["metadata"].get("namespace") or CLUSTER_SCOPED_IN


def _cut(text: str) -> str:
    """Shorten to what the API takes, at a character and not at a byte."""
    cut = text.encode()[:NOTE_MAX_BYTES].decode(errors="ignore")
    return cut if cut == text else f"{cut[:-3]}..."
