"""One fetch of a model from a remote source into its folder of the cache, under its lease."""

import contextlib
from collections.abc import Mapping

import orjson

from lumen_resources.errors import (
    ChecksumMismatchError,
    FileMissingError,
    ModelInfoError,
    ResourceValidationError,
    translated,
)
from lumen_resources.fetch.describe import UnverifiedModel, describe, proven_by
from lumen_resources.fetch.lease import Lease
from lumen_resources.fetch.local_model import Cached
from lumen_resources.fetch.plan import check_pin, plan_files, proven, remote_files
from lumen_resources.fetch.staging import SIDE_FOLDER, FetchOptions, Staging
from lumen_resources.model import lock_file
from lumen_resources.model.derive import derive
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.lock_file import bytes_digest, stat_identity
from lumen_resources.model.model_info import FILE_NAME, FileDigest, ModelInfo, parse
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.promises import DigestRule, FilePromise
from lumen_resources.sources.protocol import RemoteSource, SourceSnapshot


class PlaceTakenError(ResourceValidationError):
    """Between the choice of a folder and its lease, another source's files came into it."""


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
        self._staging = Staging(cached.place, source, progress, options)

    def run(self) -> VerifiedModel:
        """Return the model, from what another process fetched meanwhile or from the source.

        Raises PlaceTakenError when that is another model of the same name.
        """
        with Lease(self._place / SIDE_FOLDER, waiting=self._progress.wait_for) as lease:
            if self._cached.is_taken():
                raise PlaceTakenError(
                    f"{self._place} was filled from another source meanwhile.",
                    remedy="Start again: these files then get a folder of their own.",
                    file=str(self._place),
                )
            if lease.waited and not self._options.force:
                with contextlib.suppress(ChecksumMismatchError, FileMissingError):
                    model = self._cached.open(self._progress, thorough=True)
                    if model is not None:
                        return model
            return self._fetch(lease)

    def _fetch(self, lease: Lease) -> VerifiedModel:
        config, progress, staging = self._cached.config, self._progress, self._staging
        progress.begin(FetchPhase.FETCHING)
        progress.at(self._source.uri)
        snapshot = staging.snapshot(self._cached.asked, config.pinned_revision)
        check_pin(config, snapshot.revision, self._source.uri)
        content, derived = self._model_info(snapshot)
        info, warnings = parse(content)
        wanted = plan_files(info, config, _available(snapshot, info))
        promises = proven(wanted, info, snapshot.promises, self._source.uri)
        digests, missing = staging.what_is_here(promises)
        fetched = staging.fetch(missing)
        digests |= {path: file.digest for path, file in fetched.items()}
        _refuse_contradiction(info, digests)
        subject = UnverifiedModel(
            config=config,
            root=self._place,
            cache=self._place,
            info=info,
            wanted=wanted,
            digests={FILE_NAME: bytes_digest(content), **digests},
            revision=snapshot.revision,
            warnings=warnings,
            derived=derived,
            apart=self._cached.apart,
        )
        staged = {path: file.place for path, file in fetched.items()}
        progress.begin(FetchPhase.CHECKING)
        describe(subject, lambda path: staged.get(path, self._place / path), thorough=True)
        lease.ensure_held()
        staging.move_into_place(staged)
        self._write_model_info(content)
        seen = {path: stat_identity(self._place / path) for path in subject.digests}
        self._cached.keep_lock(subject, self._source.uri, seen)
        staging.put_away()
        model = describe(subject, lambda path: self._place / path, thorough=False)
        return proven_by(model, subject, seen)

    def _model_info(self, snapshot: SourceSnapshot) -> tuple[bytes, tuple[str, ...]]:
        """Return model_info.json and, when it had to be derived, what from."""
        if snapshot.model_info is not None:
            return snapshot.model_info, ()
        promises = snapshot.promises
        if FILE_NAME in promises:
            return self._staging.small_file(FILE_NAME, promises), ()
        info, sentences = derive(
            self._cached.config.model.name,
            {path: promise.size for path, promise in promises.items()},
            lambda path: self._staging.small_file(path, promises),
            repository=snapshot.repository,
        )
        document = _with_digests(info, promises).model_dump(mode="json", exclude_none=True)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n", sentences

    def _write_model_info(self, content: bytes) -> None:
        info = self._place / FILE_NAME
        with translated(info, "writing"):
            temporary = self._place / SIDE_FOLDER / FILE_NAME
            lock_file.write_durably(temporary, content)
            temporary.replace(info)


def _with_digests(info: ModelInfo, promises: Mapping[str, FilePromise]) -> ModelInfo:
    """Add what the hub says of weights and graphs: of those that are not fetched, too.

    A model of which one tower is loaded is known by both.
    """
    named = {path for runtime in info.runtimes.values() for path in runtime.all_files()}
    digests = {
        path: FileDigest(size=promise.size, sha256=promise.digest)
        for path, promise in sorted(promises.items())
        if path in named and promise.rule is DigestRule.SHA256
    }
    lumen = info.lumen.model_copy(update={"files": digests})
    extra = info.extra_metadata.model_copy(update={"lumen": lumen})
    return info.model_copy(update={"extra_metadata": extra})


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
                remedy="Its owner must record the files anew "
                "(`lumen resources verify --write FOLDER`), or spec.model.source.revision "
                "must name the revision they belong to.",
                file=path,
            )
