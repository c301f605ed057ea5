"""Compares files with what was promised of them: size first, SHA-256 then.

A loader that opens files by path gets a folder of its own (`only_verified`), since a runtime
follows the names that stand inside a file: the verified files lie there under their names and
nothing else. Each name leads to a file that is held open, so that nobody can put another in its
place. Nothing is copied, nothing read a second time. A writer to the very bytes of a file that is
served is found by looking again (`FileWatch`).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import (
    ChecksumMismatchError,
    FileMissingError,
    ModelInfoError,
    translated,
)
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.lock_file import (
    LockedFile,
    digest_of,
    digest_of_open,
    identity,
    stat_identity,
)
from lumen_resources.model.model_info import FileDigest
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.promises import FilePromise

PathResolver = Callable[[str], Path]

# Where this process's open files have names.
_DESCRIPTORS = next(p for p in (Path("/proc/self/fd"), Path("/dev/fd")) if p.exists())


@dataclass(frozen=True, slots=True)
class Found:
    """What a file turned out to be; `digest` is empty when its size was enough to tell."""

    size: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class DigestAuthority:
    """Who said what a file must be, and what to do when it is not."""

    says: str
    remedy: str


FROM_LOCK = DigestAuthority(
    "the lock", "Run `lumen resources download`: it fetches this file anew and keeps the others."
)
IN_PLACE = DigestAuthority(
    "model_info.json",
    "Put the right file back; if this one is meant, record it with "
    "`lumen resources verify --write FOLDER`.",
)


def from_source(said_by: str) -> DigestAuthority:
    """Return the authority for a file that is being fetched."""
    return DigestAuthority(
        said_by,
        "Run again to fetch it anew; if it stays, the source is damaged: report it to its owner.",
    )


def checksum_mismatch(
    path: str,
    wanted: FilePromise,
    found: Found,
    promise: DigestAuthority,
    *,
    others: int = 0,
) -> ChecksumMismatchError:
    """Say what was found, what was promised and by whom."""
    digest = f" with {wanted.rule} {found.digest[:12]}..." if found.digest else ""
    promised = f"{wanted.size:,} bytes" if found.size != wanted.size else f"{wanted.digest[:12]}..."
    kept = f" The other {others} files are kept." if others > 0 else ""
    return ChecksumMismatchError(
        f"{path} is {found.size:,} bytes{digest}, {promise.says} says {promised}.",
        remedy=f"It was not used.{kept} {promise.remedy}",
        file=path,
    )


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
            told = Found(found.size, found.sha256)
            wanted = FilePromise.of(digest)
            raise checksum_mismatch(path, wanted, told, promise, others=len(promised) - 1)
        progress.file_done(path)
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
        raise checksum_mismatch(path, FilePromise.of(digest), Found(size), promise)
    return stat_identity(place)


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


@contextmanager
def only_verified(model: VerifiedModel, paths: Iterable[Path]) -> Iterator[Path]:
    """Yield a folder that holds these files of the model by their names, and nothing else.

    Raises ChecksumMismatchError when one is not what was verified, or changes before the end.
    """
    with ExitStack() as stack:
        with translated("the folder for temporary files", "preparing"):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lumen-model-")))
        held: list[tuple[Path, BinaryIO, str]] = []
        for path in paths:
            file, seen = stack.enter_context(_opened(model, path))
            held.append((path, file, seen))
            (folder / path.name).symlink_to(_DESCRIPTORS / str(file.fileno()))
        yield folder
        for path, file, seen in held:
            if identity(os.fstat(file.fileno())) != seen:
                raise _changed(path)


def ensure_unchanged(model: VerifiedModel) -> None:
    """Raise ChecksumMismatchError unless every file of the model still is what was verified.

    Called when all is loaded: then what was loaded is what was verified. Costs a look at each
    file; one that was touched is read again.
    """
    for path in model.proofs:
        with _opened(model, path):
            pass


class FileWatch:
    """Looks whether the files of a model that is served are written to where they lie.

    Large matrices and weights are mapped, so a writer to their bytes changes what is answered. A
    file that is replaced by another does not: the verified one stays mapped.
    """

    def __init__(self, model: VerifiedModel) -> None:
        self._model = model
        self._seen = {path: proof.seen for path, proof in model.proofs.items() if proof.seen}

    def look(self) -> None:
        """Raise ChecksumMismatchError for a file whose bytes are others; one touched is read."""
        for path, seen in list(self._seen.items()):
            try:
                now = path.stat()
            except OSError:
                continue  # gone, or a volume that hangs: what is mapped is what it was
            if identity(now) == seen:
                continue
            if str(now.st_ino) != seen.split("-")[2]:
                del self._seen[path]
                continue
            with _opened(self._model, path) as (_, seen_now):
                self._seen[path] = seen_now


@contextmanager
def _opened(model: VerifiedModel, path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a file, known to be the verified one, and its stat identity."""
    proof = model.proofs.get(path)
    with ExitStack() as stack:
        with translated(path, "reading"):
            file = stack.enter_context(open_regular(path))
            seen = identity(os.fstat(file.fileno()))
        if proof is None or not (proof.seen == seen or _agrees(file, proof)):
            raise _changed(path)
        yield file, seen


def _agrees(file: BinaryIO, proof: LockedFile) -> bool:
    """Whether a file that was touched still has the verified bytes."""
    same_size = os.fstat(file.fileno()).st_size == proof.size
    return same_size and digest_of_open(file) == proof.digest


def _changed(path: Path) -> ChecksumMismatchError:
    return ChecksumMismatchError(
        f"{path} is not the file that was verified.",
        remedy="Start the service anew, so that its files are verified again. If it stays, find "
        "out who writes to this folder.",
        file=path.name,
    )
