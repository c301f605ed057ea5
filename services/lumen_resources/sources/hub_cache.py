"""The folder in which Hugging Face's own tools keep a repository: read, and never written.

`blobs` has files by the digest that the hub gave them, `snapshots/COMMIT` links from a repository's
paths to them, `refs` the commit that a branch or tag stood for. What a link leads to is named by
its digest, so that a machine without a network can verify as one with it does.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.sources.promises import DigestRule, FilePromise

SAID_BY = "the hub's cache"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_RULES = {64: DigestRule.SHA256, 40: DigestRule.GIT_BLOB}
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def repository_folder(cache: Path, kind: str, name: str) -> Path:
    """Return where a repository's files are kept."""
    return cache / f"{kind}--{name.replace('/', '--')}"


def blob(folder: Path, promise: FilePromise) -> Path | None:
    """Return where a file is, if it was ever fetched."""
    place = folder / "blobs" / promise.digest
    return place if place.is_file() else None


def commit_of(folder: Path, revision: str) -> str | None:
    """Return the commit that a branch or tag stood for when it was last fetched."""
    if _COMMIT.fullmatch(revision):
        return revision if (folder / "snapshots" / revision).is_dir() else None
    if ".." in revision.split("/"):
        return None
    try:
        commit = read_bounded(folder / "refs" / revision, 40).decode("ascii", "replace").strip()
    except OSError:
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def listed(folder: Path, commit: str) -> Iterator[tuple[str, FilePromise]]:
    """Yield what was fetched of a commit, by its path in the repository."""
    root = folder / "snapshots" / commit
    for parent, _, names in os.walk(root):
        for name in names:
            place = Path(parent, name)
            digest = place.readlink().name if place.is_symlink() else ""
            blob_place = folder / "blobs" / digest
            if _DIGEST.fullmatch(digest) and blob_place.is_file():
                size, rule = blob_place.stat().st_size, _RULES[len(digest)]
                promise = FilePromise(size, digest, rule, SAID_BY)
                yield place.relative_to(root).as_posix(), promise
