"""Whether a source is at the revision that was asked for, and which lock says so later."""

from collections.abc import Mapping
from pathlib import Path

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import ChecksumMismatchError, ResourceNotFoundError
from lumen_resources.fetch.describe import UnverifiedModel
from lumen_resources.model.digests import overall
from lumen_resources.model.lock_file import Lock, locked_files
from lumen_resources.model.model_info import FILE_NAME
from lumen_resources.sources.protocol import revision_fits


def check_revision(config: ServerConfig, resolved: str, where: str) -> None:
    """Raise unless `resolved` is what the manifest asks for and the first pod verified."""
    asked = config.model.source.revision or ""
    if not revision_fits(asked, resolved):
        raise ResourceNotFoundError(
            f"{where} is at revision {resolved[:12]}, {asked} was asked for.",
            remedy="Correct spec.model.source.revision, or leave it out to take what is there.",
            file=FILE_NAME,
        )
    if config.pinned_revision and config.pinned_revision != resolved:
        raise ChecksumMismatchError(
            f"{where} is at revision {resolved[:12]}, the first pod verified "
            f"{config.pinned_revision[:12]}.",
            remedy="The source changed under a running service. Put the earlier files back, or "
            "change spec.model to take the new ones.",
            file=FILE_NAME,
        )


def lock_of(
    subject: UnverifiedModel, source: str, seen: Mapping[str, str], root: Path | None = None
) -> Lock:
    """Return the lock of a verified model."""
    return Lock(
        source=source,
        revision=subject.revision,
        root=None if root is None else str(root),
        digest=overall(subject.digests),
        files=locked_files(subject.digests, seen),
    )
