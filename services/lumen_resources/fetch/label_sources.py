"""Label sets from a source of their own: fetched, verified and locked in a folder beside.

The heads that are published for species lie in data sets, under names of their own.
"""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import (
    ChecksumMismatchError,
    DatasetNotFoundError,
    FileMissingError,
    ResourceError,
    ResourceNotFoundError,
    labels_missing,
)
from lumen_resources.fetch.describe import SetApart
from lumen_resources.fetch.lease import Lease
from lumen_resources.fetch.places import LABELS, Places, access_to, pinned_commit, speaking_of
from lumen_resources.fetch.staging import SIDE_FOLDER, FetchOptions, Staging
from lumen_resources.fetch.verify import FROM_LOCK, IN_PLACE, inside, verify_files
from lumen_resources.model import lock_file
from lumen_resources.model.lock_file import Lock, locked_files, overall, stat_identity
from lumen_resources.model.model_info import FILE_NAME, Dataset, FileDigest, parse, read_bytes
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.folders import snapshot_of
from lumen_resources.sources.open import open_source
from lumen_resources.sources.promises import FilePromise
from lumen_resources.sources.protocol import SourceSnapshot

# Under which names TreeOfLife's data sets publish the vectors of a model's species.
PUBLISHED_STEMS = ("txt_emb_{model}", "txt_emb_species")


def fetch_label_sets(
    config: ServerConfig, places: Places, progress: Progress, options: FetchOptions
) -> dict[str, SetApart]:
    """Return the label sets that have a source of their own, by name; fetch what is not here."""
    found = {}
    for folder in _folders(config, places):
        with speaking_of(folder.wanted.field):
            found[folder.wanted.name] = folder.bring(progress, options)
    return found


def label_sets_here(
    config: ServerConfig, places: Places, progress: Progress, *, thorough: bool
) -> dict[str, SetApart]:
    """Return the same from what was fetched before; raises ResourceNotFoundError."""
    found = {}
    for folder in _folders(config, places):
        with speaking_of(folder.wanted.field):
            found[folder.wanted.name] = folder.here(progress, thorough=thorough)
    return found


def set_sources(config: ServerConfig) -> Iterator[tuple[str, str]]:
    """Yield field and URI of every label set's own source."""
    for spec in config.label_sets:
        if spec.source is not None:
            yield _field(spec.name), spec.source.uri


def _field(name: str) -> str:
    """Return how a manifest names the source of a label set."""
    return f"spec.labelSets[{name}].source"


def label_files(name: str, model: str, available: Collection[str], where: str) -> Dataset:
    """Return the files of a label set in a repository that does not say which they are.

    They are called as the set is, in whichever folder, or as published for the model.
    """
    plain = model.rpartition("/")[2].rpartition("::")[2]
    for stem in (name, *(published.format(model=plain) for published in PUBLISHED_STEMS)):
        for ending in (".npz", ".json"):
            found = [p for p in available if p.rpartition("/")[2] == f"{stem}{ending}"]
            if len(found) > 1:
                raise DatasetNotFoundError(
                    f"Label set {name}: {where} has {', '.join(sorted(found)[:5])}.",
                    remedy="Name a repository with one of them, or say in its model_info.json "
                    "(`datasets`) which is meant.",
                )
            if found:
                matrix = found[0] if ending == ".npz" else f"{found[0].removesuffix('.json')}.npy"
                ships = matrix if matrix in available else None
                return Dataset(labels=found[0], embeddings=ships)
    if halved := labels_missing(name, available):
        raise halved
    there = sorted(p for p in available if p.endswith((".npz", ".json")))
    raise DatasetNotFoundError(
        f"Label set {name} is not in {where} (labels there: {', '.join(there[:5]) or 'none'}).",
        remedy=f"It must have {name}.json, with {name}.npy for its vectors, in any folder.",
    )


@dataclass(frozen=True, slots=True)
class _WantedSet:
    """One label set: where it comes from, and the folder that its source has in the cache."""

    name: str
    uri: str
    asked: str
    pinned: str
    place: Path
    config: ServerConfig

    @property
    def field(self) -> str:
        """How a manifest names the source."""
        return _field(self.name)

    def dataset(self, available: Collection[str]) -> Dataset:
        """Return the set's files among those that a source has."""
        names = [path for path in available if path != FILE_NAME]
        return label_files(self.name, self.config.model.name, names, self.uri)

    def described(self, snapshot: SourceSnapshot) -> tuple[Dataset, dict[str, FilePromise]]:
        """Return the set's files at a source, and what it promises of them."""
        self._check_pin(snapshot.revision)
        dataset = None
        if snapshot.model_info is not None:
            dataset = parse(snapshot.model_info)[0].datasets.get(self.name)
        dataset = dataset or self.dataset(snapshot.promises)
        unproven = [path for path in _paths(dataset) if path not in snapshot.promises]
        if unproven:
            raise FileMissingError(
                f"{unproven[0]} is not in {self.uri}, or nothing there proves it.",
                remedy="Put the file there and record it: `lumen resources verify --write FOLDER`.",
                file=unproven[0],
            )
        return dataset, {path: snapshot.promises[path] for path in _paths(dataset)}

    def keep_lock(self, apart: SetApart, *, in_place: bool) -> None:
        """Write the lock; files of the same revision that other sets have stay in it."""
        lock = Lock(
            source=self.uri,
            revision=apart.revision,
            asked=self.asked,
            root=str(apart.root) if in_place else None,
            digest=overall(apart.digests),
            files=locked_files(apart.digests, apart.seen),
        )
        with contextlib.suppress(ResourceError):
            lock = lock_file.joined(lock_file.read(self.place), lock)
        lock_file.write(self.place, lock)

    def not_here(self) -> ResourceNotFoundError:
        """Return the error for a set that was never fetched."""
        return ResourceNotFoundError(
            f"{self.place} holds no verified files of label set {self.name}.",
            remedy="Fetch them first: `lumen resources download`, or the init container "
            "`resources`.",
            file=str(self.place),
        )

    def _check_pin(self, revision: str) -> None:
        if self.pinned and self.pinned != revision:
            raise ChecksumMismatchError(
                f"{self.uri} is at revision {revision[:12]}, the first pod verified "
                f"{self.pinned[:12]}.",
                remedy="The source changed under a running service. Put the earlier files back, "
                f"or name a revision of label set {self.name}.",
            )


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A label set that is fetched into its folder of the cache."""

    wanted: _WantedSet

    def bring(self, progress: Progress, options: FetchOptions) -> SetApart:
        """Return the set, from here or from its source."""
        wanted = self.wanted
        if not options.force:
            with contextlib.suppress(ChecksumMismatchError, FileMissingError):
                found = self._open(progress, thorough=True)
                if found is not None:
                    return found
        access = access_to(wanted.uri, wanted.config, options.access)
        source = open_source(wanted.uri, access)
        with (
            contextlib.closing(source),
            Lease(wanted.place / SIDE_FOLDER, waiting=progress.wait_for) as lease,
        ):
            staging = Staging(wanted.place, source, progress, options)
            return self._fetch(staging, progress, lease)

    def here(self, progress: Progress, *, thorough: bool) -> SetApart:
        """Return the set as it was fetched."""
        found = self._open(progress, thorough=thorough)
        if found is None:
            raise self.wanted.not_here()
        return found

    def _open(self, progress: Progress, *, thorough: bool) -> SetApart | None:
        wanted = self.wanted
        place, lock = wanted.place, lock_file.read(wanted.place)
        if lock is None or lock.source != wanted.uri:
            return None
        pinned = wanted.pinned
        if not (lock.revision == pinned if pinned else lock.answers(wanted.asked)):
            return None
        digests = lock.digests()
        try:
            dataset = wanted.dataset(digests)
        except DatasetNotFoundError:
            return None
        used = {path: digests[path] for path in _paths(dataset)}
        seen = {} if thorough else lock.seen()
        seen = verify_files(lambda path: place / path, used, progress, promise=FROM_LOCK, seen=seen)
        return SetApart(place, dataset, used, seen, lock.revision)

    def _fetch(self, staging: Staging, progress: Progress, lease: Lease) -> SetApart:
        wanted = self.wanted
        progress.begin(FetchPhase.FETCHING)
        progress.at(wanted.uri)
        snapshot = staging.snapshot(wanted.asked, wanted.pinned)
        dataset, promises = wanted.described(snapshot)
        digests, missing = staging.what_is_here(promises)
        fetched = staging.fetch(missing)
        digests |= {path: file.digest for path, file in fetched.items()}
        lease.ensure_held()
        staging.move_into_place({path: file.place for path, file in fetched.items()})
        staging.put_away()
        seen = {path: stat_identity(wanted.place / path) for path in digests}
        apart = SetApart(wanted.place, dataset, digests, seen, snapshot.revision)
        wanted.keep_lock(apart, in_place=False)
        return apart


@dataclass(frozen=True, slots=True)
class _InPlace:
    """A label set in a folder that is read where it is; its model_info.json proves the files."""

    wanted: _WantedSet
    root: Path

    def bring(self, progress: Progress, options: FetchOptions) -> SetApart:
        """Read and compare every file, then write the lock."""
        del options
        apart = self.here(progress, thorough=True)
        self.wanted.keep_lock(apart, in_place=True)
        return apart

    def here(self, progress: Progress, *, thorough: bool) -> SetApart:
        """Return the set; what did not change since it was verified is not read again."""
        wanted, at = self.wanted, inside(self.root)
        place = at(FILE_NAME)
        snapshot = snapshot_of(read_bytes(place), wanted.asked, wanted.uri, str(place))
        dataset, promises = wanted.described(snapshot)
        digests = {p: FileDigest(size=w.size, sha256=w.digest) for p, w in promises.items()}
        lock = None if thorough else lock_file.read(wanted.place)
        seen = {} if lock is None else lock.seen()
        seen = verify_files(at, digests, progress, promise=IN_PLACE, seen=seen)
        return SetApart(self.root, dataset, digests, seen, snapshot.revision)


def _folders(config: ServerConfig, places: Places) -> Iterator[_Fetched | _InPlace]:
    for spec in config.label_sets:
        if spec.source is None:
            continue
        uri, asked = spec.source.uri, spec.source.revision or ""
        place = places.of(LABELS, uri, asked)
        wanted = _WantedSet(spec.name, uri, asked, pinned_commit(config, spec.name), place, config)
        with speaking_of(wanted.field):
            root = places.in_place(uri, config)
        yield _Fetched(wanted) if root is None else _InPlace(wanted, root)


def _paths(dataset: Dataset) -> tuple[str, ...]:
    named = (dataset.labels, dataset.embeddings)
    return tuple(dict.fromkeys(path for path in named if path))
