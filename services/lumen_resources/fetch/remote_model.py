"""One fetch from a remote source into a model's folder of the cache, under the folder's lease."""

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import orjson

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import (
    ChecksumMismatchError,
    FileMissingError,
    ModelInfoError,
    ResourceNotFoundError,
    ResourceValidationError,
    translated,
)
from lumen_resources.fetch.describe import UnverifiedModel, describe, proven_by
from lumen_resources.fetch.lease import Lease
from lumen_resources.fetch.local_model import Cached
from lumen_resources.fetch.plan import check_pin, plan_files, proven, remote_files
from lumen_resources.fetch.transfer import FetchedFile, fetch_missing
from lumen_resources.model import lock_file
from lumen_resources.model.derive import derive
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.lock_file import bytes_digest, stat_identity
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo, parse
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.promises import FilePromise, measured
from lumen_resources.sources.protocol import (
    RemoteSource,
    RetryPolicy,
    SourceAccess,
    SourceSnapshot,
    TransientError,
)

SIDE_FOLDER = ".lumen"
# What is read as a whole to find out what a repository is: configurations and tokenizers.
SMALL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """`force` asks the source although the cache is complete; files that agree are kept."""

    access: SourceAccess = field(default_factory=SourceAccess)
    force: bool = False


Answer = TypeVar("Answer")


def patiently(ask: Callable[[], Answer], retries: RetryPolicy) -> Answer:
    """Call `ask` until it answers or has failed transiently too often."""
    for failures in range(1, retries.attempts):
        try:
            return ask()
        except TransientError as error:
            time.sleep(retries.wait_s(failures, error.retry_after_s))
    return ask()


class RemoteFetch:
    """Brings what a configuration needs of a source here, all or none."""

    def __init__(
        self, cached: Cached, source: RemoteSource, progress: Progress, options: FetchOptions
    ) -> None:
        self._cached = cached
        self._place = cached.place
        self._source = source
        self._progress = progress
        self._options = options
        self._retries = options.access.retries
        self._looked_at: set[Path] = set()

    def run(self) -> VerifiedModel:
        """Return the model, from what another process fetched meanwhile or from the source."""
        with Lease(self._place / SIDE_FOLDER, waiting=self._wait_for) as lease:
            if lease.waited and not self._options.force:
                with contextlib.suppress(ChecksumMismatchError, FileMissingError):
                    model = self._cached.open(self._progress, thorough=True)
                    if model is not None:
                        return model
            return self._fetch(lease)

    def _wait_for(self, holder: str) -> None:
        self._progress.begin(FetchPhase.WAITING)
        self._progress.at(f"the cache is in use by {holder}")

    def _fetch(self, lease: Lease) -> VerifiedModel:
        config, progress = self._cached.config, self._progress
        progress.begin(FetchPhase.FETCHING)
        progress.at(self._source.uri)
        snapshot = self._snapshot()
        check_pin(config, snapshot.revision, self._source.uri)
        content, derived = self._model_info(snapshot)
        info, warnings = parse(content)
        wanted = plan_files(info, config, _available(snapshot, info))
        promises = proven(wanted, info, snapshot.promises, self._source.uri)
        digests, missing = self._what_is_here(promises)
        fetched = self._fetch_files(missing)
        digests |= {path: file.digest for path, file in fetched.items()}
        _refuse_contradiction(info, digests)
        subject = UnverifiedModel(
            config,
            self._place,
            self._place,
            info,
            wanted,
            {FILE_NAME: bytes_digest(content), **digests},
            snapshot.revision,
            warnings,
            derived,
        )
        staged = {path: file.place for path, file in fetched.items()}
        progress.begin(FetchPhase.CHECKING)
        describe(subject, lambda path: staged.get(path, self._place / path), thorough=True)
        lease.ensure_held()
        self._move_into_place(staged, content)
        seen = {path: stat_identity(self._place / path) for path in subject.digests}
        self._cached.keep_lock(subject, self._source.uri, seen)
        self._put_away()
        model = describe(subject, lambda path: self._place / path, thorough=False)
        return proven_by(model, subject, seen)

    def _snapshot(self) -> SourceSnapshot:
        """Describe the pinned revision, where the source still has it, else the one asked for."""
        pinned = self._cached.config.pinned_revision
        if pinned and self._source.keeps_history:
            with contextlib.suppress(ResourceNotFoundError):
                return patiently(lambda: self._source.snapshot(pinned), self._retries)
        return patiently(lambda: self._source.snapshot(self._cached.asked), self._retries)

    def _model_info(self, snapshot: SourceSnapshot) -> tuple[bytes, tuple[str, ...]]:
        """Return model_info.json and, when it had to be derived, what from."""
        if snapshot.model_info is not None:
            return snapshot.model_info, ()
        if FILE_NAME in snapshot.promises:
            return self._small_file(FILE_NAME, snapshot.promises), ()
        info, sentences = derive(
            self._cached.config.model.name,
            {path: promise.size for path, promise in snapshot.promises.items()},
            lambda path: self._small_file(path, snapshot.promises),
            repository=snapshot.repository,
        )
        document = info.model_dump(mode="json", exclude_none=True)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n", sentences

    def _small_file(self, path: str, promises: Mapping[str, FilePromise]) -> bytes:
        """Return the verified bytes of a small file; it stays here for when it is wanted again."""
        promise = promises.get(path)
        if promise is None:
            raise FileMissingError(
                f"{path} is not in {self._source.uri}.",
                remedy="Name a repository that is complete.",
                file=path,
            )
        if promise.size > SMALL_BYTES:
            raise ResourceValidationError(
                f"{path} has {promise.size:,} bytes; at most {SMALL_BYTES:,} are read.",
                remedy="Name a repository whose configuration is a plain small file.",
                file=path,
            )
        place = self._place / path
        if measured(place, promise) is None:
            place = self._fetch_files({path: promise})[path].place
            self._looked_at.add(place)
        with translated(place, "reading"):
            return read_bounded(place, SMALL_BYTES)

    def _fetch_files(self, missing: Mapping[str, FilePromise]) -> dict[str, FetchedFile]:
        incoming = self._place / SIDE_FOLDER / "incoming"
        return fetch_missing(self._source, missing, incoming, self._progress, self._retries)

    def _what_is_here(
        self, promises: Mapping[str, FilePromise]
    ) -> tuple[dict[str, FileDigest], dict[str, FilePromise]]:
        """Return the digests of what is here, and what is not, or is another file."""
        total = sum(p.size for path, p in promises.items() if (self._place / path).is_file())
        self._progress.begin(FetchPhase.VERIFYING, total_bytes=total, files=len(promises))
        here, missing = {}, {}
        for path, promise in promises.items():
            self._progress.at(path)
            digest = measured(self._place / path, promise, self._progress.add)
            if digest is None:
                missing[path] = promise
            else:
                here[path] = digest
            self._progress.file_done(path)
        return here, missing

    def _put_away(self) -> None:
        """Remove what was only looked at to find out what the repository is."""
        for place in self._looked_at:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
                place.parent.rmdir()

    def _move_into_place(self, complete: Mapping[str, Path], model_info: bytes) -> None:
        """Every file is verified by now: each move is one step, and the lock follows."""
        uses = Counter(complete.values())
        for path, staged in complete.items():
            target = self._place / path
            with translated(target, "moving into place"):
                target.parent.mkdir(parents=True, exist_ok=True)
                uses[staged] -= 1
                if uses[staged]:
                    twin = staged.with_name(f"{staged.name}.copy")
                    shutil.copyfile(staged, twin)
                    twin.replace(target)
                else:
                    staged.replace(target)
                    with contextlib.suppress(OSError):
                        staged.parent.rmdir()
        info = self._place / FILE_NAME
        with translated(info, "writing"):
            temporary = self._place / SIDE_FOLDER / FILE_NAME
            lock_file.write_durably(temporary, model_info)
            temporary.replace(info)


def _available(snapshot: SourceSnapshot, info: ModelInfo) -> set[str]:
    """Return which files the source has, as far as it says."""
    listed = set(snapshot.promises)
    return listed if snapshot.model_info is None else remote_files(info, listed)


def _refuse_contradiction(info: ModelInfo, digests: Mapping[str, FileDigest]) -> None:
    """A hub vouches for its files; a model info that speaks of others was written for others."""
    for path, promised in info.digests().items():
        if path in digests and digests[path] != promised:
            raise ModelInfoError(
                f"{FILE_NAME} says that {path} is {promised.size:,} bytes with sha256 "
                f"{promised.sha256[:12]}...; in the repository it is {digests[path].size:,} bytes "
                f"with {digests[path].sha256[:12]}....",
                remedy="Its owner must record the files anew (`lumen resources verify --write`), "
                "or spec.model.source.revision must name the revision they belong to.",
                file=path,
            )
