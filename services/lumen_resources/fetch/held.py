"""Verified files for loaders that open them by path, and beside them whatever else they like.

A runtime follows the names that stand inside a file. So it is given a folder of its own, in which
the verified files lie under their names and nothing else; each name leads to a file that is held
open, so that nobody can put another in its place. Nothing is copied, nothing read a second time.
What a writer to the very bytes of a file does after it was loaded is not seen here.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import ChecksumMismatchError, translated
from lumen_resources.model.digests import digest_of_open, identity
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.lock_file import LockedFile

# Where this process's open files have names.
_DESCRIPTORS = next(p for p in (Path("/proc/self/fd"), Path("/dev/fd")) if p.exists())


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
