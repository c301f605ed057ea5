"""Parses what a store holds, each state of an object once; no network, no clock."""

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import structlog

from lumen_cluster.kinds import Raw
from lumen_cluster.store import Name
from lumen_router.errors import ObjectUnreadable

ParsedT = TypeVar("ParsedT")

log = structlog.get_logger(__name__)


class ParseOnce(Generic[ParsedT]):
    """Parses each state of an object once; what cannot be read is left out and said once."""

    def __init__(self, parse: Callable[[Raw], ParsedT]) -> None:
        self._parse = parse
        self._parsed: dict[Name, tuple[Raw, ParsedT | None]] = {}

    @property
    def unusable(self) -> int:
        """How many objects of the last reading were left out."""
        return sum(parsed is None for _, parsed in self._parsed.values())

    def read(self, objects: Mapping[Name, Raw]) -> Iterable[ParsedT]:
        """Return every readable object, parsed, in order of name."""
        parsed = {name: self._one(name, objects[name]) for name in sorted(objects)}
        self._parsed = parsed
        return [one for _, one in parsed.values() if one is not None]

    def _one(self, name: Name, raw: Raw) -> tuple[Raw, ParsedT | None]:
        known = self._parsed.get(name)
        if known is not None and known[0] is raw:
            return known
        try:
            return raw, self._parse(raw)
        except ObjectUnreadable as error:
            if known is None or known[1] is not None:
                log.warning("object not usable, left out of the routes", why=str(error)[:500])
            return raw, None
