"""The one JSON line by which an init container says how it ended."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from lumen_manifest.conditions import Reason
from lumen_process.printable import printable_json, told

if TYPE_CHECKING:
    # A server imports this before its port is open, and layouts loads pydantic.
    from lumen_resources.model.layouts import VerifiedModel

log = structlog.get_logger(__name__)

# The kubelet cuts a termination message here.
MAX_BYTES = 4096


def success_line(model: "VerifiedModel") -> bytes:
    """Return what the operator records of the first verified pod.

    Commits of more label sets than a message has room for are left out: they are then not pinned.
    """
    terms = {"license": model.info.license} if model.info.license else {}
    document = {
        "reason": str(Reason.VERIFIED),
        "revision": model.revision,
        "digest": model.digest,
        "embeddingSpace": model.embedding_space,
        "bytes": model.bytes,
        "files": model.file_count,
        **terms,
    }
    if not model.label_revisions:
        return _line(document)
    line = _line({**document, "labelSets": model.label_revisions})
    return line if len(line) <= MAX_BYTES else _line(document)


class Stated(Protocol):
    """Why a process ends: an error of resources, or of a start."""

    message: str
    remedy: str
    file: str

    @property
    def reason(self) -> Reason:
        """The reason of the condition that it becomes."""


def words_of(failure: Stated) -> dict[str, str]:
    """Return reason, message, remedy and file."""
    return {
        "reason": str(failure.reason),
        "message": told(failure.message),
        "remedy": told(failure.remedy),
        "file": told(failure.file),
    }


def failure_line(failure: Stated) -> bytes:
    """Return the line of a failure, the longest of its texts cut when need be."""
    document = words_of(failure)
    while len(line := _line(document)) > MAX_BYTES:
        longest = max(
            ("message", "remedy", "file"), key=lambda key: len(printable_json(document[key]))
        )
        over = len(line) - MAX_BYTES
        keep = max(0, len(document[longest]) - over - 3)
        document[longest] = f"{document[longest][:keep]}..." if keep else ""
    return line


def last_words(
    path: Path, failure: Stated, event: str, *, cause: BaseException | None = None
) -> None:
    """Say in the log and to the kubelet why this process ends."""
    write(path, failure_line(failure))
    log.error(event, **words_of(failure), exc_info=cause)


def write(path: Path, line: bytes) -> None:
    """Write the line where the kubelet (or `lumen up`) reads it; the log says the same."""
    try:
        path.write_bytes(line)
    except OSError as error:
        log.warning("the termination log cannot be written", error=str(error))


def _line(document: dict[str, Any]) -> bytes:
    # A path may hold bytes that are not text; of the JSON writers here this one takes them.
    return f"{printable_json(document)}\n".encode()
