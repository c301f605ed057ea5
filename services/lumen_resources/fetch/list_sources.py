"""Lists of names from sources of their own: one file each, fetched, verified and locked.

A hub says what the file must be. A web server, a bucket and a folder say nothing: the manifest's
digest does, or what the first pod found is kept.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lumen_manifest.reading.regular_files import read_bounded
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.source_uri import IN_PLACE
from lumen_manifest.spec.model_spec import NamesSpec
from lumen_resources.errors import (
    ChecksumMismatchError,
    FileMissingError,
    InvalidConfig,
    ResourceError,
    ResourceNotFoundError,
    ResourceValidationError,
    translated,
)
from lumen_resources.fetch.lease import Lease
from lumen_resources.fetch.places import LISTS, Places, access_to, pinned_commit, speaking_of
from lumen_resources.fetch.staging import SIDE_FOLDER, FetchOptions, current, patiently
from lumen_resources.fetch.verify import Found, checksum_mismatch, from_source
from lumen_resources.labels.name_lists import MAX_BYTES, NameLists, mounted_lists, parse_names
from lumen_resources.model import lock_file
from lumen_resources.model.layouts import NameList
from lumen_resources.model.lock_file import Lock, LockedFile, bytes_digest, overall
from lumen_resources.model.model_info import FileDigest
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.open import open_source
from lumen_resources.sources.promises import FilePromise, Measure
from lumen_resources.sources.protocol import RemoteSource

_AT_A_HUB = re.compile(r"(?P<source>(?:hf|modelscope)://(?:datasets/)?[^/]+/[^/]+)/(?P<path>.+)")
# What a machine tells of its processes and of itself is nobody's list of names.
_FORBIDDEN = tuple(map(Path, ("/proc", "/sys", "/dev", "/run", "/var/run")))


def fetch_lists(
    config: ServerConfig, places: Places, progress: Progress, options: FetchOptions
) -> NameLists:
    """Return every list that label sets are narrowed by; fetch what is not here."""
    found = dict(mounted_lists(config, places.source))
    for wanted in _wanted(config, places):
        with speaking_of(wanted.field):
            found[wanted.key] = wanted.bring(progress, options)
    return found


def list_sources(config: ServerConfig) -> Iterator[tuple[str, str]]:
    """Yield field and URI of the source that each list is in."""
    for wanted in _wanted(config, Places(Path(), Path())):
        in_place = urlsplit(wanted.uri).scheme in IN_PLACE
        yield wanted.field, wanted.uri if in_place else _split(wanted.uri)[0]


def lists_here(config: ServerConfig, places: Places) -> NameLists:
    """Return the same from what was fetched before; raises ResourceNotFoundError."""
    found = dict(mounted_lists(config, places.source))
    return found | {wanted.key: wanted.here() for wanted in _wanted(config, places)}


@dataclass(frozen=True, slots=True)
class _WantedList:
    """One list: its field, the folder that it has in the cache, and what it must be."""

    key: tuple[str, str]
    uri: str
    config: ServerConfig
    places: Places
    pinned: str
    sha256: str

    @property
    def field(self) -> str:
        """How a manifest names the source."""
        label_set, field = self.key
        start, _, rest = field.partition("_")
        return f"spec.labelSets[{label_set}].{start}{rest.capitalize()}"

    @property
    def _place(self) -> Path:
        return self.places.of(LISTS, self.uri)

    def here(self) -> NameList:
        """Return the list as it was fetched."""
        found = self._locked()
        if found is not None:
            return found
        raise ResourceNotFoundError(
            f"{self._place} holds no verified list of names for label set {self.key[0]}.",
            remedy="Fetch it first: `lumen resources download -f FILE`, or the init container "
            "`resources`.",
            file=str(self._place),
        )

    def bring(self, progress: Progress, options: FetchOptions) -> NameList:
        """Return the list, from here or from its source."""
        progress.begin(FetchPhase.FETCHING)
        progress.at(self.uri)
        in_place = self.places.in_place(self.uri, self.config)
        if in_place is not None:
            content = _read_in_place(in_place)
            return self._keep(content, bytes_digest(content).sha256[:40], in_place)
        if not options.force:
            found = self._locked()
            if found is not None and _still_is(found):
                return found
        source_uri, path = _split(self.uri)
        access = access_to(self.uri, self.config, options.access)
        source = open_source(source_uri, access)
        with (
            contextlib.closing(source),
            Lease(self._place / SIDE_FOLDER, waiting=progress.wait_for),
        ):
            return self._fetch(source, path, replace(options, access=access), progress)

    def _locked(self) -> NameList | None:
        lock = lock_file.read(self._place)
        if lock is None or lock.source != self.uri or self.pinned not in {"", lock.revision}:
            return None
        ((name, file),) = lock.files.items()
        if self.sha256 not in {"", file.sha256}:
            return None
        place = Path(lock.root) if lock.root else self._place
        return NameList(place / name, file.sha256, lock.revision)

    def _fetch(
        self, source: RemoteSource, path: str, options: FetchOptions, progress: Progress
    ) -> NameList:
        ask, retries = partial(source.document, path, MAX_BYTES), options.access.retries
        if not _AT_A_HUB.fullmatch(self.uri):
            content = patiently(ask, retries, progress.failed)
            _refuse_large(len(content), self.uri)
            return self._keep(content, bytes_digest(content).sha256[:40])
        snapshot = current(source, "", self.pinned, retries, progress)
        promise = snapshot.promises.get(path)
        if promise is None:
            raise FileMissingError(
                f"{path} is not in {source.uri}.",
                remedy="Correct the path behind the repository's name.",
                file=path,
            )
        _refuse_large(promise.size, self.uri)
        content = patiently(ask, retries, progress.failed)
        _compare(content, promise, path)
        return self._keep(content, snapshot.revision)

    def _keep(self, content: bytes, revision: str, in_place: Path | None = None) -> NameList:
        """Put the list into its folder, with a lock; one that cannot be used replaces none."""
        digest = bytes_digest(content)
        self._refuse_another(digest, revision)
        path = in_place or self._place / (Path(unquote(urlsplit(self.uri).path)).name[:200])
        parse_names(content, self.uri)
        with translated(path, "writing"):
            self._place.mkdir(parents=True, exist_ok=True)
            if in_place is None:
                temporary = self._place / SIDE_FOLDER / path.name
                temporary.parent.mkdir(exist_ok=True)
                lock_file.write_durably(temporary, content)
                temporary.replace(path)
        lock = Lock(
            source=self.uri,
            revision=revision,
            root=None if in_place is None else str(path.parent),
            digest=overall({path.name: digest}),
            files={path.name: LockedFile(size=digest.size, sha256=digest.sha256)},
        )
        lock_file.write(self._place, lock)
        return NameList(path, digest.sha256, revision)

    def _refuse_another(self, digest: FileDigest, revision: str) -> None:
        if self.sha256 not in {"", digest.sha256}:
            raise ChecksumMismatchError(
                f"{self.uri} has sha256 {digest.sha256}, {self.field}.sha256 is {self.sha256}.",
                remedy="If this list is meant, write its digest there.",
                file=self.uri,
            )
        if self.pinned not in {"", revision}:
            raise ChecksumMismatchError(
                f"{self.uri} is at revision {revision[:12]}, the first pod verified "
                f"{self.pinned[:12]}.",
                remedy="The source changed under a running service. Put the earlier list back, or "
                f"give {self.field}.sha256 the digest of this one: {digest.sha256}.",
                file=self.uri,
            )


def _wanted(config: ServerConfig, places: Places) -> Iterator[_WantedList]:
    for spec in config.label_sets:
        for field, said in spec.name_lists.items():
            if said.uri is not None:
                yield _of(config, places, (spec.name, field), said, said.uri)


def _of(
    config: ServerConfig, places: Places, key: tuple[str, str], said: NamesSpec, uri: str
) -> _WantedList:
    name = f"{key[0]}/{key[1].partition('_')[0]}"
    pinned = pinned_commit(config, name)
    return _WantedList(key, uri, config, places, pinned, said.sha256 or "")


def _split(uri: str) -> tuple[str, str]:
    """Return the source that a list is in, and its path there."""
    found = _AT_A_HUB.fullmatch(uri)
    if found is not None:
        return found["source"], unquote(found["path"])
    folder, _, name = uri.rpartition("/")
    return folder, unquote(name)


def _read_in_place(path: Path) -> bytes:
    with translated(path, "reading"):
        real = path.resolve()
        if any(real.is_relative_to(folder) for folder in _FORBIDDEN):
            raise InvalidConfig(
                f"{path} is none of a list's places.",
                remedy="Put the list into a folder of your own, or a ConfigMap.",
            )
        content = read_bounded(path, MAX_BYTES)
    _refuse_large(len(content), str(path))
    return content


def _refuse_large(size: int, where: str) -> None:
    if size > MAX_BYTES:
        raise ResourceValidationError(
            f"{where} has more than {MAX_BYTES:,} bytes.",
            remedy="Name a list of at most that size.",
        )


def _compare(content: bytes, promise: FilePromise, path: str) -> None:
    measure = Measure(promise)
    measure.update(content)
    if not measure.kept:
        found = Found(measure.size, measure.by_rule)
        raise checksum_mismatch(path, promise, found, from_source(promise.said_by))


def _still_is(found: NameList) -> bool:
    with contextlib.suppress(ResourceError, OSError):
        return lock_file.digest_of(found.path).sha256 == found.sha256
    return False
