"""Fetches files into a side folder: resumed after a break, verified, and only then complete.

Nothing here touches a file that is in use; `fetch` moves complete sets into place.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from lumen_resources.errors import ChecksumMismatchError, DiskFullError, translated
from lumen_resources.fetch.verify import FROM_SOURCE, Found, checksum_mismatch
from lumen_resources.model.lock_file import BLOCK_BYTES, digest_of
from lumen_resources.model.model_info import FileDigest
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.protocol import (
    Part,
    RangeRefusedError,
    RemoteSource,
    RetryPolicy,
    TransientError,
)

# Room for the lock, the lease and model_info.json beside the files.
SLACK_BYTES = 1024 * 1024


def fetch_missing(
    source: RemoteSource,
    wanted: Mapping[str, FileDigest],
    incoming: Path,
    progress: Progress,
    retries: RetryPolicy,
) -> dict[str, Path]:
    """Fetch every file of `wanted` and return where each complete one lies, below `incoming`.

    Each lies in a folder named by its digest, so no revision's bytes ever mix with another's.
    """
    with translated(incoming, "preparing the download"):
        incoming.mkdir(parents=True, exist_ok=True)
        places = {staged(incoming, path, digest): digest for path, digest in wanted.items()}
        total = sum(digest.size for digest in places.values())
        have = sum(_kept_bytes(place, digest) for place, digest in places.items())
        _refuse_full_disk(incoming, total - have)
    progress.begin(FetchPhase.FETCHING, total_bytes=total, kept_bytes=have, files=len(wanted))
    complete: dict[str, Path] = {}
    for path, digest in wanted.items():
        progress.at(path)
        complete[path] = _FileTransfer(source, path, digest, incoming, progress).run(
            retries, others=len(wanted) - 1
        )
        progress.file_done()
    return complete


def staged(incoming: Path, path: str, digest: FileDigest) -> Path:
    """Return where a file lies between its download and its move into place."""
    return incoming / digest.sha256 / path.rpartition("/")[2]


def partial(place: Path) -> Path:
    """Return where a staged file grows."""
    return place.with_name(f"{place.name}.part")


def _kept_bytes(place: Path, digest: FileDigest) -> int:
    for path in (place, partial(place)):
        if path.is_file():
            return min(path.stat().st_size, digest.size)
    return 0


def _refuse_full_disk(folder: Path, missing_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing_bytes + SLACK_BYTES and missing_bytes > 0:
        raise DiskFullError(
            f"{folder} has {free:,} bytes free; {missing_bytes + SLACK_BYTES:,} are needed.",
            remedy="Free space or enlarge the cache (spec.cache.sizeLimit, or the claim's size), "
            "then start again; what was fetched is kept.",
            file=str(folder),
        )


class _FileTransfer:
    """One file on its way: a part that grows, its running digest, and the server's validator."""

    def __init__(
        self,
        source: RemoteSource,
        path: str,
        digest: FileDigest,
        incoming: Path,
        progress: Progress,
    ) -> None:
        self._source = source
        self._path = path
        self._wanted = digest
        self._done = staged(incoming, path, digest)
        self._part = partial(self._done)
        self._etag = self._done.with_name(f"{self._done.name}.etag")
        self._progress = progress
        self._resumed = False

    def run(self, retries: RetryPolicy, *, others: int) -> Path:
        """Return the verified file; raises ChecksumMismatchError, or what the source said."""
        with translated(self._done, "preparing the download"):
            self._done.parent.mkdir(exist_ok=True)
        if self._done.is_file() and digest_of(self._done) == self._wanted:
            return self._done
        found = self._fetch_patiently(retries)
        if found != self._wanted and self._resumed:
            # Its beginning may be from another time than its end: once more, from the start.
            self._discard()
            self._resumed = False
            found = self._fetch_patiently(retries)
        if found != self._wanted:
            self._discard()
            raise self._mismatch(found, others)
        with translated(self._part, "keeping a file"):
            self._part.replace(self._done)
            self._etag.unlink(missing_ok=True)
        return self._done

    def _fetch_patiently(self, retries: RetryPolicy) -> FileDigest:
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
                time.sleep(retries.wait_s(failures, error.retry_after_s))

    def _fetch_once(self) -> FileDigest:
        with translated(self._part, "writing a download"), self._part.open("a+b") as part:
            have = part.seek(0, os.SEEK_END)
            if have > self._wanted.size:
                part.truncate(0)
                self._progress.add(-self._wanted.size)
                have = 0
            digest = _digest_so_far(part)
            if have < self._wanted.size:
                validator = self._etag.read_text() if have and self._etag.exists() else ""
                with self._source.read(self._path, have, validator) as rest:
                    if rest.offset < have:
                        part.truncate(0)
                        self._progress.add(-have)
                        digest, have = hashlib.sha256(), 0
                    self._resumed = self._resumed or have > 0
                    have = self._append(part, rest, have, digest)
            os.fsync(part.fileno())
        return FileDigest(size=have, sha256=digest.hexdigest())

    def _append(self, part: BinaryIO, rest: Part, have: int, digest: "hashlib._Hash") -> int:
        if rest.total is not None and rest.total != self._wanted.size:
            raise self._mismatch(Found(rest.total))
        self._etag.write_text(rest.validator)
        for block in rest.blocks:
            room = self._wanted.size - have
            if len(block) > room:
                raise self._mismatch(Found(have + len(block)))
            part.write(block)
            digest.update(block)
            have += len(block)
            self._progress.add(len(block))
        if have < self._wanted.size:
            part.flush()
            raise TransientError(
                f"{self._path}: the connection ended after {have:,} of {self._wanted.size:,} "
                "bytes.",
                remedy="Start again; what was fetched is kept.",
            )
        return have

    def _discard(self) -> None:
        with translated(self._part, "removing a damaged download"):
            if self._part.exists():
                self._progress.add(-self._part.stat().st_size)
            self._part.unlink(missing_ok=True)
            self._etag.unlink(missing_ok=True)

    def _mismatch(self, found: Found | FileDigest, others: int = 0) -> ChecksumMismatchError:
        return checksum_mismatch(self._path, self._wanted, found, FROM_SOURCE, others=others)


def _digest_so_far(part: BinaryIO) -> "hashlib._Hash":
    """Hash what is there; leaves the position at the end."""
    digest = hashlib.sha256()
    part.seek(0)
    while block := part.read(BLOCK_BYTES):
        digest.update(block)
    return digest
