"""Brings a configured model's files here, verified, all or none; or opens what already is.

`fetch_and_verify` is for the init container and the command, `open_verified` for the server.
"""

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import (
    ChecksumMismatchError,
    FileMissingError,
    ResourceError,
    translated,
)
from lumen_resources.fetch.describe import UnverifiedModel, describe, proven_by
from lumen_resources.fetch.lease import Lease
from lumen_resources.fetch.local_model import Cached, InPlace
from lumen_resources.fetch.plan import check_revision, plan_files, proven, remote_files
from lumen_resources.fetch.transfer import fetch_missing
from lumen_resources.fetch.verify import agrees
from lumen_resources.labels.prepared_labels import adopt
from lumen_resources.model import lock_file
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.lock_file import bytes_digest, stat_identity
from lumen_resources.model.model_info import FILE_NAME, FileDigest, parse
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.open import folder_of, open_source, source_uri
from lumen_resources.sources.protocol import (
    RemoteSource,
    RetryPolicy,
    SourceAccess,
    SourceSnapshot,
    TransientError,
)

SIDE_FOLDER = ".lumen"


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """`force` asks the source although the cache is complete; files that agree are kept."""

    access: SourceAccess = field(default_factory=SourceAccess)
    force: bool = False


def fetch_and_verify(
    config: ServerConfig,
    cache_dir: Path,
    source_dir: Path,
    progress: Progress,
    options: FetchOptions | None = None,
) -> VerifiedModel:
    """Return the model, every file of it verified against its promised size and SHA-256.

    Files that are here and right are used without the network; what is missing is fetched into a
    side folder and moved into place when all of it is verified. Raises ResourceError.
    """
    model = _verified(config, cache_dir, source_dir, progress, options or FetchOptions())
    adopt(model)
    progress.begin(FetchPhase.DONE)
    return model


def _verified(
    config: ServerConfig,
    cache_dir: Path,
    source_dir: Path,
    progress: Progress,
    options: FetchOptions,
) -> VerifiedModel:
    local = _local(config, cache_dir, source_dir)
    if isinstance(local, InPlace):
        return local.verify(progress)
    damage = None
    if not options.force:
        try:
            model = local.open(progress, thorough=True)
        except (ChecksumMismatchError, FileMissingError) as error:
            damage, model = error, None
        if model is not None:
            return model
    try:
        remote = open_source(local.uri, options.access)
    except ResourceError:
        if damage is not None:
            raise damage from None
        raise
    with contextlib.closing(remote):
        return _Fetch(local, remote, progress, options).run()


def open_verified(config: ServerConfig, cache_dir: Path, source_dir: Path) -> VerifiedModel:
    """Return the model as an earlier `fetch_and_verify` left it; nothing is fetched or written.

    Files that changed since are read and compared again. Raises ResourceError.
    """
    return _local(config, cache_dir, source_dir).reopen()


def verify_here(
    config: ServerConfig, cache_dir: Path, source_dir: Path, progress: Progress
) -> VerifiedModel:
    """Read and compare every file that is here, as `fetch_and_verify` would, without the network.

    Raises ResourceError; ResourceNotFoundError when nothing was fetched yet.
    """
    local = _local(config, cache_dir, source_dir)
    if isinstance(local, InPlace):
        return fetch_and_verify(config, cache_dir, source_dir, progress)
    return local.verify(progress)


def _local(config: ServerConfig, cache_dir: Path, source_dir: Path) -> InPlace | Cached:
    uri = source_uri(config)
    root = folder_of(uri, source_dir)
    return Cached(config, cache_dir, uri) if root is None else InPlace(config, cache_dir, root)


Answer = TypeVar("Answer")


def patiently(ask: Callable[[], Answer], retries: RetryPolicy) -> Answer:
    """Call `ask` until it answers or has failed transiently too often."""
    for failures in range(1, retries.attempts):
        try:
            return ask()
        except TransientError as error:
            time.sleep(retries.wait_s(failures, error.retry_after_s))
    return ask()


class _Fetch:
    """One fetch from a remote source into a cached folder, under the folder's lease."""

    def __init__(
        self, cached: Cached, source: RemoteSource, progress: Progress, options: FetchOptions
    ) -> None:
        self._cached = cached
        self._place = cached.place
        self._source = source
        self._progress = progress
        self._options = options

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
        progress.at(FILE_NAME)
        retries = self._options.access.retries
        asked = config.model.source.revision or ""
        snapshot = patiently(lambda: self._source.snapshot(asked), retries)
        check_revision(config, snapshot.revision, self._source.uri)
        subject = self._subject(snapshot)
        missing = self._missing(subject.promised())
        complete = fetch_missing(
            self._source, missing, self._place / SIDE_FOLDER / "incoming", progress, retries
        )
        progress.begin(FetchPhase.CHECKING)
        describe(subject, lambda path: complete.get(path, self._place / path), thorough=True)
        lease.ensure_held()
        self._move_into_place(complete, snapshot.model_info)
        seen = {path: stat_identity(self._place / path) for path in subject.digests}
        self._cached.keep_lock(subject, self._source.uri, seen)
        model = describe(subject, lambda path: self._place / path, thorough=False)
        return proven_by(model, subject, seen)

    def _subject(self, snapshot: SourceSnapshot) -> UnverifiedModel:
        info, warnings = parse(snapshot.model_info)
        available = remote_files(info, snapshot.digests)
        wanted = plan_files(info, self._cached.config, available)
        digests = proven(wanted, info, snapshot.digests, self._source.uri)
        digests = {FILE_NAME: bytes_digest(snapshot.model_info), **digests}
        config, place = self._cached.config, self._place
        return UnverifiedModel(
            config, place, place, info, wanted, digests, snapshot.revision, warnings
        )

    def _missing(self, promised: Mapping[str, FileDigest]) -> dict[str, FileDigest]:
        """Return what is not here, or is here and is another file."""
        total = sum(d.size for p, d in promised.items() if (self._place / p).is_file())
        self._progress.begin(FetchPhase.VERIFYING, total_bytes=total, files=len(promised))
        missing = {}
        for path, digest in promised.items():
            self._progress.at(path)
            if not agrees(self._place / path, digest, self._progress):
                missing[path] = digest
        return missing

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
