"""Compares files with what was promised of them: size first, SHA-256 then."""

from collections.abc import Callable, Mapping
from pathlib import Path

from lumen_resources.errors import FileMissingError, ModelInfoError, translated
from lumen_resources.fetch.transfer import DigestAuthority, Found, checksum_mismatch
from lumen_resources.model.digests import digest_of, stat_identity
from lumen_resources.model.model_info import FileDigest
from lumen_resources.progress import FetchPhase, Progress

PathResolver = Callable[[str], Path]


def verify_files(
    at: PathResolver,
    promised: Mapping[str, FileDigest],
    progress: Progress,
    *,
    promise: DigestAuthority,
    seen: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Verify every file of `promised` and return the stat identity each had.

    A file whose identity is the one of `seen` was verified already and is not read again.
    `promise` names who said so. Raises FileMissingError, ChecksumMismatchError.
    """
    seen = seen or {}
    identities: dict[str, str] = {}
    for path, digest in promised.items():
        identities[path] = _identity_of_size(at(path), path, digest, promise)
    unread = {p: d for p, d in promised.items() if seen.get(p) != identities[p]}
    total = sum(d.size for d in unread.values())
    progress.begin(FetchPhase.VERIFYING, total_bytes=total, files=len(unread))
    for path, digest in unread.items():
        progress.at(path)
        found = digest_of(at(path), progress.add)
        if found != digest:
            raise checksum_mismatch(
                path,
                digest,
                Found(found.size, found.sha256),
                promise,
                others=len(promised) - 1,
            )
        progress.file_done()
    return identities


def _identity_of_size(place: Path, path: str, digest: FileDigest, promise: DigestAuthority) -> str:
    """Refuse a file that is absent or of another size before anything is read."""
    with translated(place, "looking at"):
        if not place.is_file():
            raise FileMissingError(
                f"{path} is not there ({promise.says} names it, {digest.size:,} bytes).",
                remedy="Complete the model's folder, or fetch it anew.",
                file=path,
            )
        size = place.stat().st_size
    if size != digest.size:
        raise checksum_mismatch(path, digest, Found(size), promise)
    return stat_identity(place)


def agrees(place: Path, digest: FileDigest, progress: Progress) -> bool:
    """Whether a file is there and is the promised one."""
    with translated(place, "looking at"):
        if not place.is_file() or place.stat().st_size != digest.size:
            return False
    return digest_of(place, progress.add) == digest


def inside(root: Path) -> PathResolver:
    """Return a function from a relative path to its place; it refuses to leave `root`.

    The path's text was checked when the model info was parsed; here links are followed.
    """
    real_root = root.resolve()

    def at(path: str) -> Path:
        place = root / path
        if not _real(place).is_relative_to(real_root):
            raise ModelInfoError(
                f"{path} leads out of {root} to {place.resolve()}.",
                remedy="Put the file itself into the model's folder instead of a link.",
                file=path,
            )
        return place

    return at


def _real(place: Path) -> Path:
    try:
        return place.resolve()
    except RuntimeError as error:
        raise ModelInfoError(
            f"{place} is a link that leads back to itself.",
            remedy="Put the file itself into the model's folder instead of a link.",
            file=place.name,
        ) from error
