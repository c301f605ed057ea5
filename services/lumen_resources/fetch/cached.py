"""A model's folder in the cache, and when it may be used without asking its source."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import DatasetNotFoundError, FileMissingError, ResourceError
from lumen_resources.fetch.describe import UnverifiedModel, describe, proven_by
from lumen_resources.fetch.pins import check_revision, lock_of
from lumen_resources.fetch.plan import WantedFile, local_files, plan_files, proven
from lumen_resources.fetch.transfer import FROM_LOCK, IN_PLACE
from lumen_resources.fetch.verify import inside, verify_files
from lumen_resources.model import lock_file
from lumen_resources.model.digests import bytes_digest, overall
from lumen_resources.model.layouts import VerifiedModel, model_folder
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo, parse, read_bytes
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.protocol import revision_fits


class Cached:
    """A model's folder in the cache, as far as its lock (or its model info) proves it."""

    def __init__(self, config: ServerConfig, cache_dir: Path, uri: str) -> None:
        self.config = config
        self.uri = uri
        self.place = model_folder(cache_dir, config.model.name)

    def open(self, progress: Progress, *, thorough: bool) -> VerifiedModel | None:
        """Return the model if the folder has all it needs, None when the source must be asked.

        Raises ChecksumMismatchError or FileMissingError when it had it and is damaged.
        """
        lock = lock_file.read(self.place)
        if lock is None:
            return self._open_unlocked(progress)
        if self.uri and lock.source != self.uri:
            return None
        asked = self.config.model.source.revision or ""
        pinned = self.config.pinned_revision
        if not revision_fits(asked, lock.revision) or (pinned and pinned != lock.revision):
            return None
        digests = lock.digests()
        content = self._locked_info(digests)
        info, warnings = parse(content, file=str(self.place / FILE_NAME))
        wanted = self._covered(info, digests)
        if wanted is None:
            return None
        used = {path: digests[path] for path in (FILE_NAME, *wanted.paths())}
        seen = {} if thorough else {path: file.seen for path, file in lock.files.items()}
        identities = verify_files(self._at, used, progress, promise=FROM_LOCK, seen=seen)
        progress.begin(FetchPhase.CHECKING)
        subject = self.subject(info, wanted, used, lock.revision, warnings)
        return proven_by(describe(subject, self._at, thorough=thorough), subject, identities)

    def subject(
        self,
        info: ModelInfo,
        wanted: WantedFile,
        digests: Mapping[str, FileDigest],
        revision: str,
        warnings: tuple[str, ...],
    ) -> UnverifiedModel:
        """Return what is to be described, with its files in this folder."""
        return UnverifiedModel(
            self.config, self.place, self.place, info, wanted, digests, revision, warnings
        )

    def keeplock_of(self, subject: UnverifiedModel, source: str, seen: Mapping[str, str]) -> None:
        """Write the lock; files of the same revision that others verified stay in it."""
        lock = lock_of(subject, source, seen)
        with contextlib.suppress(ResourceError):
            before = lock_file.read(self.place)
            if before and (before.source, before.revision) == (lock.source, lock.revision):
                files = {**before.files, **lock.files}
                digest = overall({path: file.digest for path, file in files.items()})
                lock = lock.model_copy(update={"files": files, "digest": digest})
        lock_file.write(self.place, lock)

    def _at(self, path: str) -> Path:
        return self.place / path

    def _locked_info(self, digests: Mapping[str, FileDigest]) -> bytes:
        if FILE_NAME not in digests:
            raise FileMissingError(
                f"The lock in {self.place} does not name {FILE_NAME}.",
                remedy="Fetch the model anew.",
                file=lock_file.FILE_NAME,
            )
        verify_files(self._at, {FILE_NAME: digests[FILE_NAME]}, Progress(), promise=FROM_LOCK)
        return read_bytes(self.place / FILE_NAME)

    def _covered(self, info: ModelInfo, digests: Mapping[str, FileDigest]) -> WantedFile | None:
        """Return the plan when every file of it is in the lock."""
        try:
            wanted = plan_files(info, self.config, set(digests))
        except (FileMissingError, DatasetNotFoundError):
            return None
        return wanted if set(wanted.paths()) <= set(digests) else None

    def _open_unlocked(self, progress: Progress) -> VerifiedModel | None:
        """A folder that someone put into the cache: its model info proves it, if it can.

        Only for the default source: with a source of its own, that one is asked first.
        """
        if self.uri or not (self.place / FILE_NAME).is_file():
            return None
        content = read_bytes(self.place / FILE_NAME)
        info, warnings = parse(content, file=str(self.place / FILE_NAME))
        itself = bytes_digest(content)
        check_revision(self.config, itself.sha256[:40], str(self.place))
        wanted = plan_files(info, self.config, local_files(self.place, info))
        digests = {FILE_NAME: itself} | proven(wanted, info, info.digests(), str(self.place))
        identities = verify_files(inside(self.place), digests, progress, promise=IN_PLACE)
        progress.begin(FetchPhase.CHECKING)
        subject = self.subject(info, wanted, digests, itself.sha256[:40], warnings)
        return proven_by(describe(subject, self._at, thorough=True), subject, identities)
