"""What the API server last said of one kind of object; no network, no clock.

`list_watch` feeds it, `from_cluster` reads it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import structlog

from lumen_router.errors import ObjectUnreadable

Raw = Mapping[str, Any]
ParsedT = TypeVar("ParsedT")

log = structlog.get_logger(__name__)


class EventType(StrEnum):
    """What a watch reports."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class WatchEnd(StrEnum):
    """How a watch came to its end, or why there was none."""

    ORDERLY = "orderly"
    EXPIRED = "expired"
    AWAY = "away"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Event:
    """One report of a watch. A bookmark's object holds nothing but a resource version."""

    type: EventType
    object: Raw


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one moment, and the version from which a watch goes on."""

    items: tuple[Raw, ...]
    version: str


@dataclass(slots=True)
class Mirror:
    """The objects of one kind in one namespace, by name.

    `keep` reduces an object to what is read of it: the rest needs no memory, and a change of the
    rest is none. `version` is where a watch goes on, empty when the objects have to be listed
    first. What was known stays meanwhile; `listed` tells whether anything ever was.
    """

    keep: Callable[[Raw], Raw]
    objects: dict[str, Raw] = field(default_factory=dict)
    version: str = ""
    listed: bool = False

    def replace(self, listing: Listing) -> bool:
        """Take over a whole list; tells whether anything is different now."""
        fresh = {}
        for item in listing.items:
            name, kept = _name(item), self.keep(item)
            known = self.objects.get(name)
            fresh[name] = known if known == kept else kept
        changed = not self.listed or fresh != self.objects
        self.objects, self.version, self.listed = fresh, listing.version, True
        return changed

    def apply(self, event: Event) -> bool:
        """Take over one report; tells whether anything is different now."""
        self.version = _version(event.object) or self.version
        if event.type is EventType.BOOKMARK:
            return False
        name = _name(event.object)
        if event.type is EventType.DELETED:
            return self.objects.pop(name, None) is not None
        kept = self.keep(event.object)
        if self.objects.get(name) == kept:
            return False
        self.objects[name] = kept
        return True

    def forget_version(self) -> None:
        """Have the objects listed again; until then what is known stays."""
        self.version = ""


class ParseOnce(Generic[ParsedT]):
    """Parses each state of an object once; what cannot be read is left out and said once."""

    def __init__(self, parse: Callable[[Raw], ParsedT]) -> None:
        self._parse = parse
        self._parsed: dict[str, tuple[Raw, ParsedT | None]] = {}

    def read(self, objects: Mapping[str, Raw]) -> Iterable[ParsedT]:
        """Return every readable object, parsed, in order of name."""
        parsed = {name: self._one(name, objects[name]) for name in sorted(objects)}
        self._parsed = parsed
        return [one for _, one in parsed.values() if one is not None]

    def _one(self, name: str, raw: Raw) -> tuple[Raw, ParsedT | None]:
        known = self._parsed.get(name)
        if known is not None and known[0] is raw:
            return known
        try:
            return raw, self._parse(raw)
        except ObjectUnreadable as error:
            if known is None or known[1] is not None:
                log.warning("object not usable, left out of the routes", why=str(error)[:500])
            return raw, None


def _name(raw: Raw) -> str:
    return str(_metadata(raw).get("name", ""))


def _version(raw: Raw) -> str:
    return str(_metadata(raw).get("resourceVersion", ""))


def _metadata(raw: Raw) -> Raw:
    metadata = raw.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}
