"""Objects as the API server tells of them: which kind, a page of a list, a report of a watch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object, in one namespace or, where that is empty, everywhere.

    `group` is empty for core/v1; `selector` is a label selector, empty for all objects.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    selector: str = ""

    @property
    def path(self) -> str:
        """Where the API server serves it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}{where}/{self.plural}"

    def __str__(self) -> str:
        """Name the kind as RBAC and kubectl do."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


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


def version_of(raw: Raw) -> str:
    """Return an object's resource version, empty when it has none."""
    metadata = raw.get("metadata")
    return str(metadata.get("resourceVersion", "")) if isinstance(metadata, Mapping) else ""
