"""A model whose files are here: in its folder of the cache, or where they lie (file://, pvc://)."""

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from lumen_manifest.default_repositories import default_uri
from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import (
    ChecksumMismatchError,
    DatasetNotFoundError,
    FileMissingError,
    ResourceError,
    ResourceNotFoundError,
    translated,
)
from lumen_resources.fetch.describe import Apart, UnverifiedModel, describe, proven_by
from lumen_resources.fetch.plan import (
    WantedFile,
    check_revision,
    local_files,
    plan_files,
    proven,
)
from lumen_resources.fetch.verify import FROM_LOCK, IN_PLACE, inside, verify_files
from lumen_resources.model import lock_file
from lumen_resources.model.layouts import VerifiedModel, beside, model_folder
from lumen_resources.model.lock_file import Lock, bytes_digest, locked_files, overall
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo, parse, read_bytes
from lumen_resources.progress import FetchPhase, Progress

NOTHING_APART = Apart()


class Cached:
    """A model's folder in the cache, as far as its lock (or its model info) proves it."""

    def __init__(
        self, config: ServerConfig, cache_dir: Path, uri: str, apart: Apart = NOTHING_APART
    ) -> None:
        self.config = config
        self.apart = apart
        self.uri = uri
        self.asked = config.model.source.revision or ""
        self.place = self._place_in(cache_dir)

    def is_taken(self) -> bool:
        """Whether another source's files, or another revision's, have come into the folder."""
        with contextlib.suppress(ResourceError):
            return not self._is_ours(lock_file.read(self.place))
        return False

    def _is_ours(self, lock: Lock | None) -> bool:
        source = self.uri or default_uri(self.config.model) or ""
        return lock is None or lock.is_of(source, self.asked, self.config.pinned_revision)

    def _place_in(self, cache_dir: Path) -> Path:
        """Return the model's folder: by its name for the first source, and beside for others.

        Two services may have the same model from different sources, or of different revisions.
        """
        place = model_folder(cache_dir, self.config.model.name)
        with contextlib.suppress(ResourceError):
            if not self._is_ours(lock_file.read(place)):
                wanted = self.config.pinned_revision or self.asked
                source = self.uri or default_uri(self.config.model)
                return beside(place, f"{source}@{wanted}")
        return place

    def verify(self, progress: Progress) -> VerifiedModel:
        """Read and compare every file. Raises ResourceNotFoundError when nothing was fetched."""
        return self._found(self.open(progress, thorough=True))

    def reopen(self) -> VerifiedModel:
        """Return the model as it was verified; what changed since is read and compared again."""
        return self._found(self.open(Progress(), thorough=False))

    def open(self, progress: Progress, *, thorough: bool) -> VerifiedModel | None:
        """Return the model if the folder has all it needs, None when the source must be asked.

        Raises ChecksumMismatchError or FileMissingError when it had it and is damaged.
        """
        lock = lock_file.read(self.place)
        if lock is None:
            return self._open_unlocked(progress)
        if not self._is_ours(lock):
            return None
        digests = lock.digests()
        content = self._locked_info(digests)
        info, warnings = parse(content, file=str(self.place / FILE_NAME))
        wanted = self._covered(info, digests)
        if wanted is None:
            return None
        used = {path: digests[path] for path in (FILE_NAME, *wanted.paths())}
        seen = {} if thorough else lock.seen()
        identities = verify_files(self._at, used, progress, promise=FROM_LOCK, seen=seen)
        progress.begin(FetchPhase.CHECKING)
        subject = UnverifiedModel(
            config=self.config,
            root=self.place,
            cache=self.place,
            info=info,
            wanted=wanted,
            digests=used,
            revision=lock.revision,
            warnings=warnings,
            derived=lock.derived,
            apart=self.apart,
        )
        return proven_by(describe(subject, self._at, thorough=thorough), subject, identities)

    def keep_lock(self, subject: UnverifiedModel, source: str, seen: Mapping[str, str]) -> None:
        """Write the lock; files of the same revision that others verified stay in it."""
        lock = _lock_of(subject, source, seen).model_copy(update={"asked": self.asked})
        with contextlib.suppress(ResourceError):
            lock = lock_file.joined(lock_file.read(self.place), lock)
        lock_file.write(self.place, lock)
        lock_file.write_name(self.place, self.config.model.name)

    def _found(self, model: VerifiedModel | None) -> VerifiedModel:
        if model is not None:
            return model
        spec = self.config.model
        raise ResourceNotFoundError(
            f"{self.place} holds no verified files for {spec.name} "
            f"({spec.runtime}, {spec.precision}).",
            remedy="Fetch them first: `lumen resources download`, or the init container "
            "`resources`.",
            file=str(self.place),
        )

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
        subject = _proven_by_itself(self.config, self.place, self.place, self.apart)
        at = inside(self.place)
        identities = verify_files(at, subject.digests, progress, promise=IN_PLACE)
        progress.begin(FetchPhase.CHECKING)
        return proven_by(describe(subject, self._at, thorough=True), subject, identities)


class InPlace:
    """A folder that is read where it is; lock and prepared vectors go to the cache."""

    def __init__(
        self, config: ServerConfig, cache_dir: Path, root: Path, apart: Apart = NOTHING_APART
    ) -> None:
        self._config = config
        self._apart = apart
        self._root = root
        self._cache = beside(model_folder(cache_dir, config.model.name), str(root.absolute()))

    def verify(self, progress: Progress) -> VerifiedModel:
        """Read and check everything, then write the lock."""
        subject, at = self._subject(), inside(self._root)
        seen = verify_files(at, subject.promised(), progress, promise=IN_PLACE)
        progress.begin(FetchPhase.CHECKING)
        model = describe(subject, at, thorough=True)
        source = self._config.model.source.uri or ""
        lock_file.write(self._cache, _lock_of(subject, source, seen, root=self._root))
        lock_file.write_name(self._cache, self._config.model.name)
        progress.begin(FetchPhase.DONE)
        return proven_by(model, subject, seen)

    def reopen(self) -> VerifiedModel:
        """Return the model as it was verified; what changed since is read and compared again."""
        lock = lock_file.read(self._cache)
        subject, at = self._subject(), inside(self._root)
        seen: Mapping[str, str] = {}
        if lock is not None:
            _refuse_change(subject, lock)
            seen = lock.seen()
        seen = verify_files(at, subject.promised(), Progress(), promise=IN_PLACE, seen=seen)
        return proven_by(describe(subject, at, thorough=lock is None), subject, seen)

    def _subject(self) -> UnverifiedModel:
        with translated(self._root, "looking at"):
            if not self._root.is_dir():
                raise ResourceNotFoundError(
                    f"{self._root} is not a folder ({self._config.model.source.uri}).",
                    remedy="Correct spec.model.source.uri, which leads there.",
                    file=str(self._root),
                )
        return _proven_by_itself(self._config, self._root, self._cache, self._apart)


def _proven_by_itself(
    config: ServerConfig, root: Path, cache: Path, apart: Apart
) -> UnverifiedModel:
    """Return what a folder is whose own model info proves its files."""
    content = read_bytes(inside(root)(FILE_NAME))
    info, warnings = parse(content, file=str(root / FILE_NAME))
    itself = bytes_digest(content)
    revision = itself.sha256[:40]
    check_revision(config, revision, str(root))
    with translated(root, "listing"):
        wanted = plan_files(info, config, local_files(root, info))
    # The path of a claim's folder is that of a pod, where nobody types anything.
    in_claim = (config.model.source.uri or "").startswith("pvc:")
    folder = "FOLDER" if in_claim else shlex.quote(str(root))
    promises = proven(wanted, info, info.digests(), str(root), folder)
    return UnverifiedModel(
        config=config,
        root=root,
        cache=cache,
        info=info,
        wanted=wanted,
        digests={FILE_NAME: itself} | promises,
        revision=revision,
        warnings=warnings,
        apart=apart,
    )


def _lock_of(
    subject: UnverifiedModel, source: str, seen: Mapping[str, str], root: Path | None = None
) -> Lock:
    return Lock(
        source=source,
        revision=subject.revision,
        root=None if root is None else str(root),
        digest=overall(subject.digests),
        files=locked_files(subject.digests, seen),
        derived=subject.derived,
    )


def _refuse_change(subject: UnverifiedModel, lock: Lock) -> None:
    """A server that starts again must not serve other files than those that were verified."""
    locked = lock.digests()
    for path, digest in subject.digests.items():
        if path in locked and locked[path] != digest:
            raise ChecksumMismatchError(
                f"{path} in {subject.root} changed since it was verified.",
                remedy="Start the service anew, so that its files are verified again.",
                file=path,
            )
