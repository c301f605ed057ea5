"""Everything that can be wrong with a model's files, each with a name, a file and a remedy.

    ResourceError
    ├── ConfigError                     the server's settings cannot be read
    │   └── UnsupportedSourceError      a scheme that nothing here fetches
    ├── ResourceNotFoundError           the source holds no such model
    │   └── FileMissingError            it does, but a file is not there
    ├── ResourceValidationError         a file's content is not what it must be
    │   ├── ChecksumMismatchError       size or SHA-256 differ from what was promised
    │   ├── ModelInfoError              model_info.json
    │   ├── DatasetNotFoundError        a named label set is missing
    │   ├── LabelSetError               a label set's labels or matrix
    │   └── TokenizerError              tokenizer.json
    ├── RuntimeNotSupportedError        the model has no files for this runtime
    ├── SourceUnavailableError          no connection, a time-out, a 5xx
    ├── UnauthorizedError               401 or 403
    ├── DiskFullError                   no space left
    ├── AccessDeniedError               the file system said no
    └── StoppedError                    SIGTERM or Ctrl-C; what was fetched is kept

`REASONS` is the one table from these classes to the reasons of the status conditions.
"""

import errno
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from lumen_manifest.conditions import Reason
from lumen_manifest.reading.doors import Door
from lumen_process.printable import told

MORE_ROOM = "Free space, or give the cache more (spec.cache.sizeLimit, or a larger volume)"
"""What to do about a cache that is full."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_LOOKING = ("reading", "looking", "listing")
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}


class ResourceError(Exception):
    """Why a model's files cannot be used.

    `message` says what was found and what was expected, `remedy` what to do about it, `file`
    which file it is (empty when it is none in particular).
    """

    def __init__(self, message: str, *, remedy: str, file: str = "") -> None:
        self.message, self.remedy, self.file = told(message), told(remedy), told(file)
        super().__init__(self.message)

    def say_at(self, door: Door) -> None:
        """Put message and remedy into the words of whoever is to act on them."""
        self.message, self.remedy = door.says(self.message), door.says(self.remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"

    @property
    def reason(self) -> Reason:
        """The reason of the status condition that this error becomes."""
        for kind in type(self).__mro__:
            if kind in REASONS:
                return Reason(REASONS[kind])
        return Reason("Unknown")


class InvalidConfig(ResourceError):
    """The server's settings cannot be read, or ask for what cannot be."""


class UnsupportedSourceError(InvalidConfig):
    """Nothing here fetches from such a source; asking again never helps."""


class ResourceNotFoundError(ResourceError):
    """The source holds no such model."""


class FileMissingError(ResourceNotFoundError):
    """The model is there, but a file it needs is not."""


class ResourceValidationError(ResourceError):
    """A file's content is not what it must be."""


class ChecksumMismatchError(ResourceValidationError):
    """A file's size or SHA-256 differ from what was promised; it was not used."""


class ModelInfoError(ResourceValidationError):
    """model_info.json is missing, malformed, or proves nothing."""


class ModelMismatchError(ResourceValidationError):
    """The files are another model's, or another family's, than the manifest names."""


class DatasetNotFoundError(ResourceValidationError):
    """A label set that the manifest names is not in the model."""


def labels_missing(name: str, available: Collection[str]) -> DatasetNotFoundError | None:
    """Return the error for a label set of which only the vectors are there; None otherwise."""
    matrix = next((p for p in sorted(available) if p.rpartition("/")[2] == f"{name}.npy"), None)
    if matrix is None:
        return None
    labels = f"{matrix.removesuffix('.npy')}.json"
    return DatasetNotFoundError(
        f"Label set {name}: {matrix} has its vectors, and {labels} with the labels is missing.",
        remedy=f"Put {labels} beside it: a JSON list with a label for each row, in order.",
        file=labels,
    )


class LabelSetError(ResourceValidationError):
    """A label set's labels or matrix cannot be used."""


class TokenizerError(ResourceValidationError):
    """tokenizer.json cannot be loaded."""


class RuntimeNotSupportedError(ResourceError):
    """The model has no files for the runtime, device or precision that was asked for."""


class SourceUnavailableError(ResourceError):
    """The source does not answer."""


class UnauthorizedError(ResourceError):
    """The source wants another token, or one at all."""


class DiskFullError(ResourceError):
    """The cache has no space left for the files."""


class AccessDeniedError(ResourceError):
    """The file system refused to read or write."""


class StoppedError(ResourceError):
    """A signal ended the work; what was fetched is kept."""

    exit_code = 1

    @classmethod
    def by(cls, number: signal.Signals) -> Self:
        """Return the error for a signal; its exit code is what shells expect of one."""
        error = cls(
            f"Stopped by {number.name} before every file was verified.",
            remedy="Start again; what was fetched is kept, the next run goes on from there.",
        )
        error.exit_code = 128 + number
        return error


REASONS: dict[type[ResourceError], str] = {
    InvalidConfig: "InvalidSpec",
    ResourceNotFoundError: "RepositoryNotFound",
    FileMissingError: "FileMissing",
    ResourceValidationError: "FilesInvalid",
    ChecksumMismatchError: "ChecksumMismatch",
    ModelInfoError: "ModelInfoInvalid",
    ModelMismatchError: "ModelMismatch",
    DatasetNotFoundError: "LabelSetInvalid",
    LabelSetError: "LabelSetInvalid",
    TokenizerError: "TokenizerInvalid",
    RuntimeNotSupportedError: "RuntimeUnavailable",
    SourceUnavailableError: "SourceUnreachable",
    UnauthorizedError: "Unauthorized",
    DiskFullError: "DiskFull",
    AccessDeniedError: "PermissionDenied",
    StoppedError: "Unknown",
}


def from_os_error(error: OSError, path: Path | str, doing: str) -> ResourceError:
    """Translate what the file system said while `doing` (reading, writing) with `path`."""
    path = str(path)
    if error.errno in _NO_SPACE:
        return DiskFullError(
            f"{path}: no space left while {doing}.",
            remedy=f"{MORE_ROOM}, then start again; what was fetched is kept.",
            file=path,
        )
    if error.errno in _DENIED:
        return AccessDeniedError(
            f"{path}: permission denied while {doing}.",
            remedy="Give the process's user access to this path (in a pod: user 65532, by fsGroup "
            "on the volume), or name another cache.",
            file=path,
        )
    if error.errno in _ABSENT and not doing.startswith(_LOOKING):
        return AccessDeniedError(
            f"{path} cannot be made (while {doing}): {error.strerror}.",
            remedy="Name a cache, or a folder, at a place where files can be written.",
            file=path,
        )
    if error.errno in _ABSENT:
        return FileMissingError(
            f"{path} is not there (while {doing}).",
            remedy="Put the file in place, or correct the path in spec.model.source.",
            file=path,
        )
    return ResourceValidationError(
        f"{path}: {error.strerror or error} while {doing}.",
        remedy="Check the disk or volume that holds it.",
        file=path,
    )


@contextmanager
def translated(path: Path | str, doing: str) -> Iterator[None]:
    """Turn the file system's errors of the block into ours; `doing` says what it was about."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path, doing) from error


@contextmanager
def speaking(door: Door) -> Iterator[None]:
    """Let what the block refuses name what to correct in the words of this door."""
    try:
        yield
    except ResourceError as error:
        error.say_at(door)
        raise


def is_failure(error: BaseException) -> bool:
    """Whether a library failed; False for an interrupt, an exit or a cancelled task."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"
