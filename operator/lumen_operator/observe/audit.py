"""What the watches said against what there is: a listing of metadata, kind by kind.

A watch that was cut does not report what was deleted meanwhile, and one that froze reports
nothing. Keys that are gone are purged here. What the watch did not tell in time is counted, and
when it lasts, liveness fails: a new process begins with new watches.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from lumen_cluster.client import JSON, Caller, list_pages
from lumen_cluster.errors import ApiError, HistoryGone
from lumen_cluster.kinds import ObjectKind
from lumen_cluster.store import Name, Version, name_of, version_of
from lumen_operator.observe.kinds import WATCHED_KINDS, watched
from lumen_operator.observe.store import ObjectCache

CHUNK = 500
"""Fewer where somebody's metadata is large: annotations alone may be 256 KiB."""
METADATA_ONLY = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
LASTING_S = 120.0
"""Beyond the silence after which a watch is begun anew, and the time that this takes."""
LOOK_AGAIN_S = 20.0

log = structlog.get_logger(__name__)

Versions = Mapping[Name, Version]


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A state that the watch owes us, and since when."""

    version: Version
    since: float
    counted: bool = False


class MetadataLister:
    """Lists what the watches should know, by metadata alone."""

    def __init__(self, caller: Caller, watch_namespace: str = "") -> None:
        self._caller = caller
        self._namespace = watch_namespace

    async def list_metadata(self, kind: ObjectKind) -> dict[Name, Version]:
        """Return every object of a kind that the watch should know, in chunks, newest state.

        A listing that takes so long that the server forgets its place begins anew, once.
        """
        try:
            return await self._list_metadata(kind)
        except HistoryGone:
            return await self._list_metadata(kind)

    async def _list_metadata(self, kind: ObjectKind) -> dict[Name, Version]:
        pages = list_pages(self._caller, watched(kind, self._namespace), METADATA_ONLY, CHUNK)
        return {name_of(item): version_of(item) async for page in pages for item in page.items}


class Audit:
    """Listings every few minutes; `mismatched` counts objects that the watches owe."""

    def __init__(
        self,
        cluster: MetadataLister,
        cache: ObjectCache,
        purge: Callable[[ObjectKind, Name, str], None],
        mismatched: Callable[[ObjectKind, int], None],
        every_s: float,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._purge = purge
        self._mismatched = mismatched
        self._every_s = every_s
        self._due: dict[ObjectKind, float] = {}
        self._suspects: dict[ObjectKind, dict[Name, _Suspect]] = {}

    def problem(self) -> str:
        """Return which watches differ from the cluster for good, empty while none does."""
        kinds = sorted(
            kind.plural
            for kind, suspects in tuple(self._suspects.items())
            if any(each.counted for each in tuple(suspects.values()))
        )
        return f"the watches of {', '.join(kinds)} differ from the cluster" if kinds else ""

    async def run(self) -> None:
        """Audit until cancelled."""
        while True:
            kind, due = min(
                ((each, self._due.get(each, 0.0)) for each in WATCHED_KINDS), key=lambda x: x[1]
            )
            if (wait_s := due - _now()) > 0:
                await asyncio.sleep(wait_s)
            self._due[kind] = _now() + self._every_s
            try:
                await self.audit(kind)
            except ApiError as error:
                log.warning("a kind cannot be audited", kind=kind.kind, why=str(error))
                self._due[kind] = _now() + LOOK_AGAIN_S

    async def audit(self, kind: ObjectKind) -> None:
        """Compare one kind: purge what is gone, and suspect what the watch did not tell yet.

        Raises:
            ApiError: the API server cannot be asked.

        """
        before = self._cache.versions(kind)
        listed = await self._cluster.list_metadata(kind)
        for name, uid in gone(before, listed):
            log.info("a watch did not tell of a deletion", kind=kind.kind, name="/".join(name))
            self._mismatched(kind, 1)
            self._purge(kind, name, uid)
        self._suspects[kind] = self._suspected(kind, listed)
        if self._suspects[kind]:
            self._due[kind] = min(self._due.get(kind, _now()), _now() + LOOK_AGAIN_S)

    def _suspected(self, kind: ObjectKind, listed: Versions) -> dict[Name, _Suspect]:
        """Carry suspects on until the watch has told of the state that it owed."""
        kept = self._cache.versions(kind)
        suspects = {
            name: suspect
            for name, suspect in self._suspects.get(kind, {}).items()
            if name in listed and owed(suspect.version, kept.get(name))
        }
        for name, version in listed.items():
            if name not in suspects and owed(version, kept.get(name)):
                suspects[name] = _Suspect(version, _now())
        return {name: self._judged(kind, suspect) for name, suspect in suspects.items()}

    def _judged(self, kind: ObjectKind, suspect: _Suspect) -> _Suspect:
        if suspect.counted or _now() - suspect.since < LASTING_S:
            return suspect
        self._mismatched(kind, 1)
        log.error("a watch tells nothing of a change", kind=kind.kind)
        return _Suspect(suspect.version, suspect.since, counted=True)


def gone(kept: Versions, listed: Versions) -> Iterable[tuple[Name, str]]:
    """Return the names and uids that were kept before the listing and are not in it."""
    return [
        (name, version.uid)
        for name, version in kept.items()
        if name not in listed or listed[name].uid != version.uid
    ]


def owed(listed: Version, kept: Version | None) -> bool:
    """Return whether the watch still owes us a state that a listing has shown."""
    return kept is None or (kept.uid == listed.uid and kept.number < listed.number)


def _now() -> float:
    return asyncio.get_running_loop().time()
