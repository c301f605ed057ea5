"""What a source promises of a file before it is fetched, and what a file turned out to be.

Hubs name large files by their SHA-256, and small ones as git does: SHA-1 over a header with the
size and the bytes. Either is compared before a file is used; the lock always keeps SHA-256.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import translated
from lumen_resources.model.lock_file import BLOCK_BYTES
from lumen_resources.model.model_info import FileDigest

MODEL_INFO, HUB = "model_info.json", "the hub"


class DigestRule(StrEnum):
    """How a digest is computed."""

    SHA256 = "sha256"
    GIT_BLOB = "git blob sha1"


@dataclass(frozen=True, slots=True)
class FilePromise:
    """Size and digest (lower-case hexadecimal) of a file, and who says so."""

    size: int
    digest: str
    rule: DigestRule = DigestRule.SHA256
    said_by: str = MODEL_INFO

    @classmethod
    def of(cls, digest: FileDigest) -> "FilePromise":
        """Return what a model info promises."""
        return cls(digest.size, digest.sha256)


class Measure:
    """Takes a file's bytes as they come and tells what they are, by the promise's own rule too."""

    def __init__(self, promise: FilePromise) -> None:
        self._promise = promise
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._by_rule = self._sha256
        if promise.rule is DigestRule.GIT_BLOB:
            header = b"blob %d\0" % promise.size
            self._by_rule = hashlib.sha1(header, usedforsecurity=False)

    def update(self, block: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._size += len(block)
        self._sha256.update(block)
        if self._by_rule is not self._sha256:
            self._by_rule.update(block)

    @property
    def size(self) -> int:
        """How many bytes came."""
        return self._size

    @property
    def by_rule(self) -> str:
        """The digest as the promise has it."""
        return self._by_rule.hexdigest()

    @property
    def kept(self) -> bool:
        """Whether the bytes so far are the promised file."""
        return self._size == self._promise.size and self.by_rule == self._promise.digest

    def digest(self) -> FileDigest:
        """Return size and SHA-256 of the bytes so far."""
        return FileDigest(size=self._size, sha256=self._sha256.hexdigest())


def measured(
    place: Path, promise: FilePromise, on_bytes: Callable[[int], None] = lambda _: None
) -> FileDigest | None:
    """Return the digest of a file that is there and is the promised one, else None.

    `on_bytes` is told the length of every block that is read; a file of another size is not read.
    """
    with translated(place, "reading"):
        if not place.is_file() or place.stat().st_size != promise.size:
            return None
        measure = Measure(promise)
        with open_regular(place) as file:
            buffer = bytearray(BLOCK_BYTES)
            view = memoryview(buffer)
            while count := os.readv(file.fileno(), [buffer]):
                measure.update(view[:count])
                on_bytes(count)
    return measure.digest() if measure.kept else None
