"""Folders at a source that lists nothing: known by their model_info.json, which proves the rest."""

from lumen_resources.errors import ResourceNotFoundError
from lumen_resources.model.lock_file import bytes_digest
from lumen_resources.model.model_info import FILE_NAME, parse
from lumen_resources.sources.promises import FilePromise
from lumen_resources.sources.protocol import SourceSnapshot, revision_fits


def snapshot_of(content: bytes, revision: str, uri: str, file: str) -> SourceSnapshot:
    """Return what a folder's model_info.json says; its SHA-256, cut to 40, is the revision.

    Raises ModelInfoError, and ResourceNotFoundError when it is not the revision that is asked for.
    """
    info, _ = parse(content, file=file)
    resolved = bytes_digest(content).sha256[:40]
    if not revision_fits(revision, resolved):
        raise ResourceNotFoundError(
            f"{uri} is now at revision {resolved[:12]}, {revision} was asked for.",
            remedy="Correct spec.model.source.revision, or leave it out to take what is there.",
            file=FILE_NAME,
        )
    promises = {path: FilePromise.of(digest) for path, digest in info.digests().items()}
    return SourceSnapshot(resolved, promises, content)
