"""What the API server last said of one kind of object; no network, no clock.

A `lumen_cluster.reflector.Follower` feeds it, `from_cluster` reads it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from lumen_cluster.objects import Event, EventType, Raw
from lumen_router.errors import ObjectUnreadable

ParsedT = TypeVar("ParsedT")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ObjectStore:
    """The objects of one kind in one namespace, by name.

    `keep` reduces an object to what is read of it: the rest needs no memory, and a change of the
    rest is none. `changed` is called whenever it says something else than before. What was known
    stays while the API server is away; `listed` tells whether anything ever was.
    """

    keep: Callable[[Raw], Raw]
    changed: Callable[[], None]
    objects: dict[str, Raw] = field(default_factory=dict)
    listed: bool = False

    def replace(self, objects: Sequence[Raw], version: str) -> None:  # noqa: ARG002 - nothing here is newer
        """Take over a whole list of what `keep` returned."""
        fresh = {}
        for kept in objects:
            known = self.objects.get(name := _name(kept))
            fresh[name] = known if known == kept else kept
        changed = not self.listed or fresh != self.objects
        self.objects, self.listed = fresh, True
        if changed:
            self.changed()

    def apply(self, event: Event) -> None:
        """Take over one report of what `keep` returned."""
        name = _name(event.object)
        if event.type is EventType.DELETED:
            if self.objects.pop(name, None) is not None:
                self.changed()
            return
        if self.objects.get(name) != event.object:
            self.objects[name] = event.object
            self.changed()


class ParseOnce(Generic[ParsedT]):
    """Parses each state of an object once; what cannot be read is left out and said once."""

    def __init__(self, parse: Callable[[Raw], ParsedT]) -> None:
        self._parse = parse
        self._parsed: dict[str, tuple[Raw, ParsedT | None]] = {}

    @property
    def unusable(self) -> int:
        """How many objects of the last reading were left out."""
        return sum(parsed is None for _, parsed in self._parsed.values())

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
    metadata = raw.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""
