"""Label sets from a repository of their own: fetched, verified and locked in a folder beside.

The heads that are published for species lie in data sets, under names of their own.
"""

import contextlib
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from lumen_manifest.default_repositories import default_uri
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.model_spec import LabelSetSpec, LabelSourceSpec
from lumen_resources.errors import (
    ChecksumMismatchError,
    DatasetNotFoundError,
    FileMissingError,
    InvalidConfig,
    ResourceError,
    ResourceNotFoundError,
)
from lumen_resources.fetch.describe import SetApart
from lumen_resources.fetch.lease import Lease
from lumen_resources.fetch.staging import SIDE_FOLDER, FetchOptions, Staging
from lumen_resources.fetch.verify import FROM_LOCK, verify_files
from lumen_resources.model import lock_file
from lumen_resources.model.layouts import folder_name, model_folder
from lumen_resources.model.lock_file import Lock, locked_files, overall, stat_identity
from lumen_resources.model.model_info import FILE_NAME, Dataset, FileDigest, parse
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.open import open_source
from lumen_resources.sources.protocol import SourceAccess, SourceSnapshot

# Schemes that have one host for all, or keys that are of an account and not of a bucket.
_HUBS = frozenset({"hf", "modelscope", "s3"})
_PIN = re.compile(r"(?:^|(?<= ))([^ =]+)=([0-9a-f]{40})(?= |$)")
# Under which names TreeOfLife's data sets publish the vectors of a model's species.
PUBLISHED_STEMS = ("txt_emb_{model}", "txt_emb_species")


def fetch_label_sets(
    config: ServerConfig, cache_dir: Path, progress: Progress, options: FetchOptions
) -> dict[str, SetApart]:
    """Return the label sets that have a source of their own, by name; fetch what is not here."""
    found = {}
    for spec in config.label_sets:
        if spec.source is not None:
            access = _access_to(spec.source.uri, config, options.access)
            folder = _LabelFolder(config, spec, spec.source, cache_dir)
            found[spec.name] = folder.bring(progress, replace(options, access=access))
    return found


def _access_to(uri: str, config: ServerConfig, access: SourceAccess) -> SourceAccess:
    """Return with what a label set's source is asked: the Secret is of the model's source.

    Another hub or host gets none of it.
    """
    own, other = urlsplit(config.model.source.uri or default_uri(config.model) or ""), urlsplit(uri)
    same_host = own.scheme in _HUBS or own.netloc == other.netloc
    if own.scheme == other.scheme and same_host:
        return access
    return replace(access, token="", access_key_id="", secret_access_key="")


def label_sets_here(
    config: ServerConfig, cache_dir: Path, progress: Progress, *, thorough: bool
) -> dict[str, SetApart]:
    """Return the same from what was fetched before; raises ResourceNotFoundError."""
    return {
        spec.name: _LabelFolder(config, spec, spec.source, cache_dir).here(
            progress, thorough=thorough
        )
        for spec in config.label_sets
        if spec.source is not None
    }


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
    there = sorted(p for p in available if p.endswith((".npz", ".json")))
    raise DatasetNotFoundError(
        f"Label set {name} is not in {where} (labels there: {', '.join(there[:5]) or 'none'}).",
        remedy=f"It must have {name}.json, with {name}.npy for its vectors, in any folder.",
    )


class _LabelFolder:
    """The folder that a label set's source has in the cache."""

    def __init__(
        self, config: ServerConfig, spec: LabelSetSpec, source: LabelSourceSpec, cache_dir: Path
    ) -> None:
        self._spec = spec
        self._uri = source.uri
        self._asked = source.revision or ""
        self._pinned = _pins(config).get(spec.name, "")
        self._model = config.model.name
        parts = urlsplit(source.uri)
        if parts.scheme in {"file", "pvc"}:
            raise InvalidConfig(
                f"spec.labelSets {spec.name}: {parts.scheme}:// is read for models alone.",
                remedy="Put its files into the model's folder and name them under `datasets` in "
                "model_info.json.",
            )
        last = parts.path.strip("/").rpartition("/")[2].partition("@")[0] or parts.netloc
        shown = re.sub(r"[^A-Za-z0-9._-]", "-", last)[:100]
        mark = hashlib.sha256(source.uri.encode()).hexdigest()[:8]
        self._place = model_folder(cache_dir, folder_name(f"labels-{shown}@{mark}"))

    def bring(self, progress: Progress, options: FetchOptions) -> SetApart:
        """Return the set, from here or from its source."""
        if not options.force:
            with contextlib.suppress(ChecksumMismatchError, FileMissingError):
                found = self._open(progress, thorough=True)
                if found is not None:
                    return found
        source = open_source(self._uri, options.access)
        with (
            contextlib.closing(source),
            Lease(self._place / SIDE_FOLDER, waiting=progress.wait_for) as lease,
        ):
            staging = Staging(self._place, source, progress, options.access.retries)
            return self._fetch(staging, progress, lease)

    def here(self, progress: Progress, *, thorough: bool) -> SetApart:
        """Return the set as it was fetched."""
        found = self._open(progress, thorough=thorough)
        if found is None:
            raise ResourceNotFoundError(
                f"{self._place} holds no verified files of label set {self._spec.name}.",
                remedy="Fetch them first: `lumen resources download`, or the init container "
                "`resources`.",
                file=str(self._place),
            )
        return found

    def _open(self, progress: Progress, *, thorough: bool) -> SetApart | None:
        lock = lock_file.read(self._place)
        if lock is None or lock.source != self._uri:
            return None
        pinned = self._pinned
        if not (lock.revision == pinned if pinned else lock.answers(self._asked)):
            return None
        digests = lock.digests()
        try:
            dataset = self._dataset(digests)
        except DatasetNotFoundError:
            return None
        used = {path: digests[path] for path in _paths(dataset)}
        seen = {} if thorough else lock.seen()
        seen = verify_files(
            lambda path: self._place / path, used, progress, promise=FROM_LOCK, seen=seen
        )
        return SetApart(self._place, dataset, used, seen, lock.revision)

    def _fetch(self, staging: Staging, progress: Progress, lease: Lease) -> SetApart:
        progress.begin(FetchPhase.FETCHING)
        progress.at(self._uri)
        snapshot = staging.snapshot(self._asked, self._pinned)
        self._check_pin(snapshot)
        dataset = self._described(snapshot) or self._dataset(snapshot.promises)
        unproven = [path for path in _paths(dataset) if path not in snapshot.promises]
        if unproven:
            raise FileMissingError(
                f"{unproven[0]} is not in {self._uri}, or nothing there proves it.",
                remedy="Its owner must put the file there and record it: `lumen resources verify "
                "--write`.",
                file=unproven[0],
            )
        promises = {path: snapshot.promises[path] for path in _paths(dataset)}
        digests, missing = staging.what_is_here(promises)
        fetched = staging.fetch(missing)
        digests |= {path: file.digest for path, file in fetched.items()}
        lease.ensure_held()
        staging.move_into_place({path: file.place for path, file in fetched.items()})
        staging.put_away()
        seen = {path: stat_identity(self._place / path) for path in digests}
        self._keep_lock(snapshot.revision, digests, seen)
        return SetApart(self._place, dataset, digests, seen, snapshot.revision)

    def _check_pin(self, snapshot: SourceSnapshot) -> None:
        if self._pinned and self._pinned != snapshot.revision:
            raise ChecksumMismatchError(
                f"{self._uri} is at revision {snapshot.revision[:12]}, the first pod verified "
                f"{self._pinned[:12]}.",
                remedy="The source changed under a running service. Put the earlier files back, "
                f"or name a revision of label set {self._spec.name}.",
            )

    def _described(self, snapshot: SourceSnapshot) -> Dataset | None:
        """Return the set's files where the source's own model info names them."""
        if snapshot.model_info is None:
            return None
        return parse(snapshot.model_info)[0].datasets.get(self._spec.name)

    def _dataset(self, available: Collection[str]) -> Dataset:
        names = [path for path in available if path != FILE_NAME]
        return label_files(self._spec.name, self._model, names, self._uri)

    def _keep_lock(
        self, revision: str, digests: Mapping[str, FileDigest], seen: Mapping[str, str]
    ) -> None:
        lock = Lock(
            source=self._uri,
            revision=revision,
            asked=self._asked,
            digest=overall(digests),
            files=locked_files(digests, seen),
        )
        with contextlib.suppress(ResourceError):
            lock = lock_file.joined(lock_file.read(self._place), lock)
        lock_file.write(self._place, lock)


def _pins(config: ServerConfig) -> dict[str, str]:
    """Return by name the commits that the first pod verified."""
    return dict(_PIN.findall(config.pinned_label_sets or ""))


def _paths(dataset: Dataset) -> tuple[str, ...]:
    named = (dataset.labels, dataset.embeddings)
    return tuple(dict.fromkeys(path for path in named if path))
