"""Sizes and SHA-256, streamed: what proves that a file is the one that was promised."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import translated
from lumen_resources.model.model_info import FileDigest

BLOCK_BYTES = 1024 * 1024


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys, no spaces, UTF-8: the same bytes for the same value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def digest_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> FileDigest:
    """Read a file in blocks of 1 MiB and return its size and SHA-256.

    `on_bytes` is told the length of every block.
    """
    with translated(path, "reading"), open_regular(path) as file:
        return digest_of_open(file, on_bytes)


def digest_of_open(file: BinaryIO, on_bytes: Callable[[int], None] = lambda _: None) -> FileDigest:
    """Do the same with an open, unbuffered file, from where it stands."""
    digest = hashlib.sha256()
    size = 0
    buffer = bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(file.fileno(), [buffer]):
        digest.update(view[:count])
        size += count
        on_bytes(count)
    return FileDigest(size=size, sha256=digest.hexdigest())


def bytes_digest(content: bytes) -> FileDigest:
    """Return size and SHA-256 of bytes in memory."""
    return FileDigest(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def overall(files: Mapping[str, FileDigest]) -> str:
    """Return one SHA-256 over paths, sizes and digests."""
    listed = {path: [d.size, d.sha256] for path, d in files.items()}
    return hashlib.sha256(canonical_json(listed)).hexdigest()


def stat_identity(path: Path) -> str:
    """Return what changes when a file is written or replaced: times of data and inode, inode.

    Changing the data sets both times, and the inode's cannot be set back.
    """
    with translated(path, "looking at"):
        return identity(os.stat(path))  # noqa: PTH116  # follows links, as reading does


def identity(stat: os.stat_result) -> str:
    """Return the same of what was asked already."""
    return f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}-{stat.st_size}"
