"""Children written to the cluster: only ever the object that was meant, and only where it is ours.

A child that the watches do not show is applied as a new one: the API server makes it or says that
its name is taken, and nothing can come in between. Only then it is asked what is there. A child
that they show is applied to by its uid, so that a successor of its name is noticed.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic

from lumen_cluster.errors import BeingDeleted, Conflict, Refused
from lumen_cluster.kinds import Raw, Ref, by_plural
from lumen_cluster.store import name_of, uid_of, version_of
from lumen_cluster.writer import ClusterWriter
from lumen_operator.children.ownership import taken_by_other
from lumen_operator.diagnose.finding import Finding
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.observe import decode
from lumen_operator.observe.kinds import WRITTEN_KINDS, kind_of
from lumen_operator.observe.store import ObjectCache

NAME_TAKEN, NOT_THE_ONE = 409, 422
"""How the API server says that an object is not the one that an apply meant."""


class ForeignChild(Exception):
    """The name of a child is taken by an object of somebody else's; `finding` says whose it is."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class RefusedChild(Exception):
    """The API server will not have a child as it is rendered, or not let it go; `error` says why.

    `child` is its kind and name. Somebody has to change something; it is tried again until then.
    """

    def __init__(self, child: str, error: Refused) -> None:
        super().__init__(f"{child}: {error}")
        self.child = child
        self.error = error


class ChildWrites:
    """Applies and deletes children; what is stored goes into the cache at once."""

    def __init__(
        self, cluster: ClusterWriter, cache: ObjectCache, metrics: OperatorMetrics
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._metrics = metrics

    async def look(self, manifests: Iterable[Raw]) -> None:
        """Look for those that the watches do not show.

        Raises:
            ForeignChild: one of them is there, and is somebody else's.
            ApiError: the API server cannot be asked.

        """
        for manifest in manifests:
            if self._cache.get(kind_of(manifest), *name_of(manifest)) is None:
                await self._read(manifest)

    async def apply(self, manifest: Raw) -> None:
        """Make one child as rendered.

        Raises:
            ForeignChild: the object of its name is somebody else's; it stays as it is.
            RefusedChild: the API server does not take it.
            ApiError: it did not succeed in time, or somebody else was faster.

        """
        with _named(f"{manifest['kind']} {name_of(manifest)[1]}"):
            await self._make(manifest)

    async def _make(self, manifest: Raw) -> None:
        known = self._cache.get(kind_of(manifest), *name_of(manifest))
        uid = uid_of(_ours(manifest, known)) if known is not None else ""
        try:
            await self._apply(manifest, uid)
        except Refused as error:
            if error.status not in ({NAME_TAKEN, NOT_THE_ONE} if uid else {NAME_TAKEN}):
                raise
            live = await self._read(manifest)
            found = uid_of(live) if live is not None else ""
            if found == uid:
                raise
            if uid:
                self._cache.drop(kind_of(manifest), name_of(manifest), uid)
            await self._apply(manifest, found)

    async def delete(self, ref: Ref) -> None:
        """Delete one child, unless it is gone or is another object by now.

        Raises:
            RefusedChild: the API server does not let it go.
            ApiError: it did not succeed in time.

        """
        start, kind = monotonic(), by_plural(ref.plural, WRITTEN_KINDS)
        with _named(f"the deletion of {kind.kind} {ref.name}"):
            await self._cluster.delete(ref)
        self._metrics.wrote(kind, "delete", monotonic() - start)

    async def _apply(self, manifest: Raw, uid: str) -> None:
        kind, start = kind_of(manifest), monotonic()
        before = self._cache.get(kind, *name_of(manifest))
        stored = await self._cluster.apply(manifest, uid)
        self._metrics.wrote(kind, "apply", monotonic() - start)
        if before is not None and version_of(before) == version_of(stored):
            self._metrics.wrote_in_vain(kind)
        self._cache.put(kind, stored)

    async def _read(self, manifest: Raw) -> Raw | None:
        """Return our child as it is stored now, whatever its labels; None while there is none."""
        live = await self._cluster.read(kind_of(manifest), *name_of(manifest))
        if live is None:
            return None
        if decode.mapping(_ours(manifest, live), "metadata").get("deletionTimestamp"):
            raise BeingDeleted(f"{manifest['kind']} {name_of(manifest)[1]} is being deleted")
        return live


@contextmanager
def _named(child: str) -> Iterator[None]:
    """Say which child was refused; a clash is not one, since the next look knows better."""
    try:
        yield
    except Conflict:
        raise
    except Refused as error:
        raise RefusedChild(child, error) from error


def _ours(manifest: Raw, there: Raw) -> Raw:
    foreign = taken_by_other(manifest, there)
    if foreign is not None:
        raise ForeignChild(foreign)
    return there
