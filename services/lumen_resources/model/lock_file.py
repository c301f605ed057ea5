"""What proves a file: size and SHA-256, streamed, and the lock that keeps them.

`lumen.lock.json` says what was verified, to the byte, so that a later start needs no network.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from pydantic import BaseModel, ConfigDict, Field

from lumen_manifest.reading.regular_files import open_regular, read_bounded
from lumen_resources.errors import ResourceValidationError, translated
from lumen_resources.json_text import parse_json
from lumen_resources.model.model_info import FileDigest, RelativePath, Sha256

BLOCK_BYTES = 1024 * 1024

FILE_NAME = "lumen.lock.json"
NAME_FILE = ".lumen/name"
NAME_BYTES = 200
# Fewer digits may be a tag.
SHORTEST_COMMIT = 7
# Some 10,000 files with the longest paths.
MAX_BYTES = 16 * 1024 * 1024


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


class LockedFile(BaseModel):
    """One verified file; `seen` is its stat identity at that moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=0)
    sha256: Sha256
    seen: str = ""

    @property
    def digest(self) -> FileDigest:
        """Size and SHA-256 alone."""
        return FileDigest(size=self.size, sha256=self.sha256)


class Lock(BaseModel):
    """The lock of one model's folder.

    `asked` is the branch or tag that was resolved to `revision`, empty for what was current.
    `root` is set for a source that is read in place; the lock then lies in the cache, apart from
    the files. `digest` is over all files listed, which may serve several runtimes.
    `derived` says from what the model info was derived, when the source has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(default=1, ge=1, le=1)
    source: str
    revision: str
    asked: str = ""
    root: str | None = None
    digest: Sha256
    files: dict[RelativePath, LockedFile]
    derived: tuple[str, ...] = ()

    def answers(self, asked: str) -> bool:
        """Whether the lock is of the revision that is asked for."""
        newest = {"", "main"}
        if asked == self.asked or (asked in newest and self.asked in newest):
            return True
        return len(asked) >= SHORTEST_COMMIT and self.revision.startswith(asked)

    def is_of(self, source: str, asked: str, pinned: str) -> bool:
        """Whether the lock is of this source (empty: any), and of the revision that is wanted.

        `pinned` is the commit that must be, empty for none.
        """
        fits = self.revision == pinned if pinned else self.answers(asked)
        return source in {"", self.source} and fits

    def digests(self) -> dict[str, FileDigest]:
        """Return size and SHA-256 by path."""
        return {path: file.digest for path, file in self.files.items()}

    def seen(self) -> dict[str, str]:
        """Return by path the stat identity that each file had when it was verified."""
        return {path: file.seen for path, file in self.files.items()}


def read(folder: Path) -> Lock | None:
    """Return the lock of a folder, or None when there is none.

    Raises ResourceValidationError when there is one that cannot be read.
    """
    path = folder / FILE_NAME
    try:
        with translated(path, "reading"):
            content = read_bounded(path, MAX_BYTES) if path.exists() else None
        return None if content is None else Lock.model_validate(parse_json(content))
    except ValueError as error:
        raise ResourceValidationError(
            f"{path} is damaged: {str(error).splitlines()[0]}.",
            remedy="Remove this file; the model's files are then verified anew and kept.",
            file=str(path),
        ) from error


def joined(before: Lock | None, lock: Lock) -> Lock:
    """Return a lock with the files of the same revision that others verified."""
    if before is None or (before.source, before.revision) != (lock.source, lock.revision):
        return lock
    files = {**before.files, **lock.files}
    digest = overall({path: file.digest for path, file in files.items()})
    return lock.model_copy(update={"files": files, "digest": digest})


def write(folder: Path, lock: Lock) -> None:
    """Put the lock into place in one step."""
    path = folder / FILE_NAME
    temporary = folder / f".{FILE_NAME}.{os.getpid()}"
    content = orjson.dumps(lock.model_dump(), option=orjson.OPT_INDENT_2)
    with translated(path, "writing"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_durably(temporary, content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_name(folder: Path, name: str) -> None:
    """Keep what the model of a folder was asked for as: a folder's name cannot have every sign."""
    place = folder / NAME_FILE
    if folder.name.partition("@")[0] == name:
        return
    with translated(place, "writing"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name, encoding="utf-8")


def read_name(folder: Path) -> str:
    """Return what the model was asked for as, empty where nobody wrote it down."""
    try:
        said = read_bounded(folder / NAME_FILE, NAME_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return said.strip()[:NAME_BYTES]


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def locked_files(
    digests: Mapping[str, FileDigest], seen: Mapping[str, str]
) -> dict[str, LockedFile]:
    """Join what was verified with the stat identity it had."""
    return {
        path: LockedFile(size=d.size, sha256=d.sha256, seen=seen.get(path, ""))
        for path, d in sorted(digests.items())
    }
