"""Fetches files into a side folder: resumed after a break, verified, and only then complete.

Several at a time. Nothing here touches a file that is in use: complete sets are moved into place by
whoever asked for them.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import ChecksumMismatchError, translated
from lumen_resources.fetch.abreast import abreast
from lumen_resources.fetch.verify import Found, checksum_mismatch, from_source
from lumen_resources.model.lock_file import BLOCK_BYTES
from lumen_resources.model.model_info import FileDigest
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.promises import FilePromise, Measure, measured
from lumen_resources.sources.protocol import (
    Part,
    RangeRefusedError,
    RemoteSource,
    RetryPolicy,
    TransientError,
)

# More connections make no slow hub faster, and keep others of the machine waiting.
FILES_AT_ONCE = 4
# Of what names a file's version; a longer one is done without.
MAX_VALIDATOR = 1000


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A complete, verified file below `incoming`, and its size and SHA-256."""

    place: Path
    digest: FileDigest


def bytes_to_come(wanted: Mapping[str, FilePromise], incoming: Path) -> int:
    """Return how much of these files is not here yet; what is the same file comes once."""
    places = {staged(incoming, path, promise): promise for path, promise in wanted.items()}
    return sum(promise.size - _kept_bytes(place, promise) for place, promise in places.items())


def fetch_missing(
    source: RemoteSource,
    wanted: Mapping[str, FilePromise],
    incoming: Path,
    progress: Progress,
    retries: RetryPolicy,
) -> dict[str, FetchedFile]:
    """Fetch every file of `wanted`, largest first, and return each complete one by its path.

    Each lies in a folder named by its digest, so no revision's bytes ever mix with another's.
    """
    with translated(incoming, "preparing the download"):
        incoming.mkdir(parents=True, exist_ok=True)
        places = {staged(incoming, path, promise): path for path, promise in wanted.items()}
        total = sum(wanted[path].size for path in places.values())
        have = sum(_kept_bytes(place, wanted[path]) for place, path in places.items())
    progress.begin(FetchPhase.FETCHING, total_bytes=total, kept_bytes=have, files=len(places))

    def fetch(path: str, stop: Event) -> FetchedFile:
        progress.at(path)
        transfer = _FileTransfer(source, path, wanted[path], incoming, progress)
        fetched = transfer.run(retries, stop, others=len(places) - 1)
        progress.file_done(path)
        return fetched

    largest_first = sorted(places.values(), key=lambda path: -wanted[path].size)
    fetched = dict(zip(largest_first, abreast(fetch, largest_first, FILES_AT_ONCE), strict=True))
    return {path: fetched[places[staged(incoming, path, p)]] for path, p in wanted.items()}


def staged(incoming: Path, path: str, promise: FilePromise) -> Path:
    """Return where a file lies between its download and its move into place."""
    return incoming / promise.digest / path.rpartition("/")[2]


def partial(place: Path) -> Path:
    """Return where a staged file grows."""
    return place.with_name(f"{place.name}.part")


def _kept_bytes(place: Path, promise: FilePromise) -> int:
    for path in (place, partial(place)):
        if path.is_file():
            return min(path.stat().st_size, promise.size)
    return 0


class _FileTransfer:
    """One file on its way: a part that grows, what it is so far, and the server's validator."""

    def __init__(
        self,
        source: RemoteSource,
        path: str,
        promise: FilePromise,
        incoming: Path,
        progress: Progress,
    ) -> None:
        self._source = source
        self._path = path
        self._wanted = promise
        self._done = staged(incoming, path, promise)
        self._part = partial(self._done)
        self._etag = self._done.with_name(f"{self._done.name}.etag")
        self._progress = progress
        self._resumed = False
        self._stop = Event()

    def run(self, retries: RetryPolicy, stop: Event, *, others: int) -> FetchedFile:
        """Return the verified file; raises ChecksumMismatchError, or what the source said."""
        self._stop = stop
        with translated(self._done, "preparing the download"):
            self._done.parent.mkdir(exist_ok=True)
        digest = measured(self._done, self._wanted)
        if digest is None:
            self._take_what_is_at_hand()
            found = self._fetch_patiently(retries)
            if not found.kept and self._resumed:
                # Its beginning may be from another time than its end: once more, from the start.
                self._discard()
                self._resumed = False
                found = self._fetch_patiently(retries)
            if not found.kept:
                self._discard()
                raise self._mismatch(Found(found.size, found.by_rule), others)
            with translated(self._part, "keeping a file"):
                self._part.replace(self._done)
                self._etag.unlink(missing_ok=True)
            digest = found.digest()
        return FetchedFile(self._done, digest)

    def _take_what_is_at_hand(self) -> None:
        """Begin with a copy of what another program fetched to this machine, if it is the file."""
        known = self._source.at_hand(self._path, self._wanted)
        if known is None or self._part.exists() or measured(known, self._wanted) is None:
            return
        with translated(self._part, "copying a file"):
            shutil.copyfile(known, self._part)
        self._progress.add(self._wanted.size)

    def _fetch_patiently(self, retries: RetryPolicy) -> Measure:
        failures, before = 0, -1
        while True:
            try:
                return self._fetch_once()
            except TransientError as error:
                size = self._part.stat().st_size if self._part.exists() else 0
                failures = 1 if size > before else failures + 1
                before = max(size, before)
                if isinstance(error, RangeRefusedError):
                    self._discard()
                if failures >= retries.attempts:
                    raise
                self._progress.failed(error.message)
                if self._stop.wait(retries.wait_s(failures, error.retry_after_s)):
                    raise

    def _fetch_once(self) -> Measure:
        with translated(self._part, "writing a download"), self._part.open("a+b") as part:
            have = part.seek(0, os.SEEK_END)
            if have > self._wanted.size:
                part.truncate(0)
                self._progress.add(-self._wanted.size)
                have = 0
            measure = _so_far(part, self._wanted)
            if have < self._wanted.size:
                validator = self._kept_validator() if have else ""
                with self._source.read(self._path, have, validator) as rest:
                    if rest.offset < have:
                        part.truncate(0)
                        self._progress.add(-have)
                        measure = Measure(self._wanted)
                    self._resumed = self._resumed or measure.size > 0
                    self._append(part, rest, measure)
            os.fsync(part.fileno())
        return measure

    def _kept_validator(self) -> str:
        kept = read_bounded(self._etag, MAX_VALIDATOR) if self._etag.exists() else b""
        validator = kept.decode("latin-1")
        return validator if _is_header(validator) else ""

    def _append(self, part: BinaryIO, rest: Part, measure: Measure) -> None:
        if rest.total is not None and rest.total != self._wanted.size:
            raise self._mismatch(Found(rest.total))
        self._etag.write_text(rest.validator if _is_header(rest.validator) else "")
        for block in rest.blocks:
            if measure.size + len(block) > self._wanted.size:
                raise self._mismatch(Found(measure.size + len(block)))
            part.write(block)
            measure.update(block)
            self._progress.add(len(block))
            if self._stop.is_set():
                break
        if measure.size < self._wanted.size:
            part.flush()
            raise TransientError(
                f"{self._path}: the connection ended after {measure.size:,} of "
                f"{self._wanted.size:,} bytes.",
                remedy="Start again; what was fetched is kept.",
            )

    def _discard(self) -> None:
        with translated(self._part, "removing a damaged download"):
            if self._part.exists():
                self._progress.add(-self._part.stat().st_size)
            self._part.unlink(missing_ok=True)
            self._etag.unlink(missing_ok=True)

    def _mismatch(self, found: Found, others: int = 0) -> ChecksumMismatchError:
        said_by = from_source(self._wanted.said_by)
        return checksum_mismatch(self._path, self._wanted, found, said_by, others=others)


def _is_header(validator: str) -> bool:
    """Whether a request can carry it as it came: servers send other alphabets, too."""
    return len(validator) <= MAX_VALIDATOR and validator.isascii() and validator.isprintable()


def _so_far(part: BinaryIO, promise: FilePromise) -> Measure:
    """Measure what is there; leaves the position at the end."""
    measure = Measure(promise)
    part.seek(0)
    while block := part.read(BLOCK_BYTES):
        measure.update(block)
    return measure
