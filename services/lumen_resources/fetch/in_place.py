"""A model that is read where it lies (file://, pvc://): only lock and computed vectors are ours."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import ChecksumMismatchError, ResourceNotFoundError, translated
from lumen_resources.fetch.describe import UnverifiedModel, describe, proven_by
from lumen_resources.fetch.pins import check_revision, lock_of
from lumen_resources.fetch.plan import local_files, plan_files, proven
from lumen_resources.fetch.transfer import IN_PLACE
from lumen_resources.fetch.verify import PathResolver, inside, verify_files
from lumen_resources.model import lock_file
from lumen_resources.model.digests import bytes_digest
from lumen_resources.model.layouts import VerifiedModel, folder_name, model_folder
from lumen_resources.model.lock_file import Lock
from lumen_resources.model.model_info import FILE_NAME, parse, read_bytes
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.protocol import FolderSource


class InPlace:
    """A folder that is read where it is; lock and prepared vectors go to the cache."""

    def __init__(self, config: ServerConfig, cache_dir: Path, source: FolderSource) -> None:
        self._config = config
        self._source = source
        self._root = source.root
        name = folder_name(config.model.name)
        place = hashlib.sha256(str(source.root.absolute()).encode()).hexdigest()[:8]
        self._cache = model_folder(cache_dir, config.model.name).with_name(f"{name}@{place}")

    def verify(self, progress: Progress) -> VerifiedModel:
        """Read and check everything, then write the lock."""
        subject, at = self._subject()
        promised = {p: d for p, d in subject.digests.items() if p != FILE_NAME}
        seen = verify_files(at, promised, progress, promise=IN_PLACE)
        progress.begin(FetchPhase.CHECKING)
        model = describe(subject, at, thorough=True)
        lock_file.write(self._cache, lock_of(subject, self._source.uri, seen, root=self._root))
        progress.begin(FetchPhase.DONE)
        return proven_by(model, subject, seen)

    def reopen(self) -> VerifiedModel:
        """Open again; what the lock has seen unchanged is not read again."""
        lock = lock_file.read(self._cache)
        subject, at = self._subject()
        seen: Mapping[str, str] = {}
        if lock is not None:
            _refuse_change(subject, lock)
            seen = {path: file.seen for path, file in lock.files.items()}
        promised = {p: d for p, d in subject.digests.items() if p != FILE_NAME}
        seen = verify_files(at, promised, Progress(), promise=IN_PLACE, seen=seen)
        return proven_by(describe(subject, at, thorough=lock is None), subject, seen)

    def _subject(self) -> tuple[UnverifiedModel, PathResolver]:
        with translated(self._root, "looking at"):
            if not self._root.is_dir():
                raise ResourceNotFoundError(
                    f"{self._root} is not a folder ({self._source.uri}).",
                    remedy="Correct spec.model.source.uri; a relative one starts at the "
                    "manifest's folder.",
                    file=str(self._root),
                )
        at = inside(self._root)
        content = read_bytes(at(FILE_NAME))
        info, warnings = parse(content, file=str(self._root / FILE_NAME))
        itself = bytes_digest(content)
        check_revision(self._config, itself.sha256[:40], str(self._root))
        with translated(self._root, "listing"):
            wanted = plan_files(info, self._config, local_files(self._root, info))
        digests = proven(wanted, info, info.digests(), str(self._root))
        subject = UnverifiedModel(
            config=self._config,
            root=self._root,
            cache=self._cache,
            info=info,
            wanted=wanted,
            digests={FILE_NAME: itself, **digests},
            revision=itself.sha256[:40],
            warnings=warnings,
        )
        return subject, at


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
