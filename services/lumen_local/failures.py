"""What a process said when it ended: termination messages as typed values. Pure.

Init containers and servers write one JSON object to their termination log (Kubernetes shows it in
the pod's status). A process that wrote none is judged by its exit code and its last log lines, as
`terminationMessagePolicy: FallbackToLogsOnError` does.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lumen_manifest.conditions import Reason

# The kubelet keeps 4 KiB of a message; a longer one is somebody's log.
MAX_MESSAGE_BYTES = 16 * 1024

# Trying again cannot help: the files, the manifest or the machine must change first.
FINAL = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.UNKNOWN_POOL,
        Reason.RUNTIME_NOT_ON_POOL,
        Reason.REPOSITORY_NOT_FOUND,
        Reason.UNAUTHORIZED,
        Reason.CHECKSUM_MISMATCH,
        Reason.FILE_MISSING,
        Reason.FILES_INVALID,
        Reason.MODEL_INFO_INVALID,
        Reason.RUNTIME_UNAVAILABLE,
        Reason.LABEL_SET_INVALID,
        Reason.TOKENIZER_INVALID,
        Reason.PERMISSION_DENIED,
        Reason.DEVICE_MISMATCH,
        Reason.DRIVER_MISMATCH,
        Reason.DEVICE_TREE_MASKED,
        Reason.PARITY_FAILED,
    }
)

_REASONS = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process ended, and what a person can do about it."""

    reason: Reason
    message: str
    remedy: str = ""
    file: str = ""

    @property
    def final(self) -> bool:
        """Return whether trying again cannot help."""
        return self.reason in FINAL


@dataclass(frozen=True, slots=True)
class Verified:
    """What the resources step reports when every file is as it should be."""

    revision: str
    digest: str
    embedding_space: str
    file_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: `code` is negative for a signal, as the subprocess module has it."""

    code: int

    @property
    def text(self) -> str:
        """Say it in words."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"was killed by {name}"


def parse_termination(raw: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a termination log; empty when there is none."""
    if not raw.strip() or len(raw) > MAX_MESSAGE_BYTES:
        return {}
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return message if isinstance(message, dict) else {}


def verified_of(message: Mapping[str, Any]) -> Verified:
    """Read what the resources step reports on success; absent fields are empty."""
    return Verified(
        revision=_text(message, "revision"),
        digest=_text(message, "digest"),
        embedding_space=_text(message, "embeddingSpace"),
        file_bytes=_count(message, "bytes"),
        files=_count(message, "files"),
    )


def is_named(message: Mapping[str, Any]) -> bool:
    """Return whether a termination message names its failure in our words."""
    return _text(message, "reason") in _REASONS and bool(_text(message, "message"))


def failure_of(
    message: Mapping[str, Any], ended: Exit, last_lines: Sequence[str], *, init: bool
) -> Failure:
    """Name the failure of a process: its own words first, else its exit and its last lines."""
    known = _REASONS.get(_text(message, "reason"))
    if known is not None and is_named(message):
        return Failure(
            reason=known,
            message=_text(message, "message"),
            remedy=_text(message, "remedy"),
            file=_text(message, "file"),
        )
    said = last_lines[-1].strip() if last_lines else ""
    text = f"The process {ended.text}."
    if ended.code == -signal.SIGKILL:
        text += " Nobody here asked for it: this machine may be short of memory."
    return Failure(
        reason=Reason.UNKNOWN if init else Reason.SERVER_CRASHED,
        message=f"{text} Its last line: {said}" if said else text,
    )


def _text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    return value if isinstance(value, str) else ""


def _count(message: Mapping[str, Any], key: str) -> int:
    value = message.get(key)
    if isinstance(value, list):  # the names themselves are as good as their number
        return len(value)
    return value if isinstance(value, int) else 0
