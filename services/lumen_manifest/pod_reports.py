"""What the processes of a pod say of themselves, as typed values: the operator and `lumen up` read.

Last words are the one JSON object that an init container or a server writes to its termination
log. Status pages are what both answer to GET /status. All of it is untrusted: it is bounded here,
and what is missing or odd counts as not said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lumen_manifest.conditions import Reason
from lumen_manifest.spec.service_status import FilesStatus, RuntimeStatus

MAX_MESSAGE_BYTES = 16 * 1024
"""The kubelet keeps 4 KiB of a message; a longer one is somebody's log."""

TEXT_MAX = 4096
WORD_MAX = 256
TASKS_MAX = 64
COUNT_MAX = 2**53

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
        Reason.MODEL_MISMATCH,
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
"""Trying again cannot help: the files, the manifest or the machine must change first."""

_PAGE = (
    "phase",
    "file",
    "bytesDone",
    "bytesTotal",
    "rateBytesPerS",
    "etaSeconds",
    "failures",
    "lastError",
    "runtime",
    "modelId",
    "embeddingDim",
    "embeddingSpace",
)
_PARTS = {
    "runtime": ("name", "version", "device", "precision", "parityCosine"),
    "files": ("revision", "digest", "labelSets", "bytes", "license"),
}
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
    """What the resources step reports when every file is as it should be.

    `label_sets` has the commits of label sets from elsewhere, as `name=commit name=commit`.
    """

    revision: str
    digest: str
    embedding_space: str
    file_bytes: int
    files: int
    license: str = ""
    label_sets: str = ""


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """What a process says of its long work; totals are 0 while they are unknown."""

    phase: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    rate_bytes_per_s: float = 0.0
    eta_s: float | None = None
    file: str = ""
    failures: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a ready server says of itself; empty text where it says nothing."""

    runtime: str = ""
    version: str = ""
    device: str = ""
    precision: str = ""
    parity: float | None = None
    model_id: str = ""
    embedding_dim: int = 0
    embedding_space: str = ""
    tasks: tuple[str, ...] = ()


def parse_termination(raw: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a termination log; empty when there is none."""
    if not raw.strip() or len(raw) > MAX_MESSAGE_BYTES:
        return {}
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return message if isinstance(message, dict) else {}


def kept_page(page: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is read of a status page, bounded; nothing else of it is held or compared."""
    kept: dict[str, Any] = _kept(page, _PAGE)
    kept |= {
        part: _kept(inner, names)
        for part, names in _PARTS.items()
        if isinstance(inner := page.get(part), dict)
    }
    if isinstance(page.get("tasks"), list):
        kept["tasks"] = list(_words(page, "tasks"))
    return kept


def verified_of(message: Mapping[str, Any]) -> Verified:
    """Read what the resources step reports on success; absent fields are empty."""
    return Verified(
        revision=_word(message, "revision"),
        digest=_word(message, "digest"),
        embedding_space=_word(message, "embeddingSpace"),
        file_bytes=_count(message, "bytes"),
        files=_count(message, "files"),
        license=_word(message, "license"),
        label_sets=_line(message, "labelSets"),
    )


def is_named(message: Mapping[str, Any]) -> bool:
    """Return whether a termination message names its failure in our words."""
    return named_failure(message) is not None


def named_failure(message: Mapping[str, Any]) -> Failure | None:
    """Read the failure that a termination message names; None when it names none."""
    reason = _REASONS.get(_word(message, "reason"))
    said = _text(message, "message")
    if reason is None or not said:
        return None
    return Failure(
        reason=reason,
        message=said,
        remedy=_text(message, "remedy"),
        file=_text(message, "file"),
    )


def progress_of(page: Mapping[str, Any]) -> ProgressReport:
    """Read the progress of an init container; what is missing or odd counts as unknown."""
    eta = page.get("etaSeconds")
    return ProgressReport(
        phase=_word(page, "phase"),
        done_bytes=_count(page, "bytesDone"),
        total_bytes=_count(page, "bytesTotal"),
        rate_bytes_per_s=_number(page, "rateBytesPerS"),
        eta_s=_number(page, "etaSeconds") if isinstance(eta, int | float) else None,
        file=_text(page, "file"),
        failures=_count(page, "failures"),
        last_error=_line(page, "lastError"),
    )


def attestation_of(page: Mapping[str, Any]) -> Attestation:
    """Read what a server says of itself."""
    runtime = page.get("runtime")
    computed: Mapping[str, Any] = runtime if isinstance(runtime, dict) else {}
    parity = computed.get("parityCosine")
    tasks = page.get("tasks")
    return Attestation(
        runtime=_word(computed, "name") or _word(page, "runtime"),
        version=_word(computed, "version"),
        device=_word(computed, "device"),
        precision=_word(computed, "precision"),
        parity=float(parity) if isinstance(parity, int | float) else None,
        model_id=_word(page, "modelId"),
        embedding_dim=_count(page, "embeddingDim"),
        embedding_space=_word(page, "embeddingSpace"),
        tasks=_words(page, "tasks") if isinstance(tasks, list) else (),
    )


def runtime_status(said: Attestation) -> RuntimeStatus | None:
    """Write status.runtime; None when nothing was attested."""
    if not said.runtime:
        return None
    return RuntimeStatus(
        name=said.runtime,
        device=said.device,
        precision=said.precision,
        version=said.version,
        parity_cosine=said.parity,
    )


def files_status(verified: Verified | None) -> FilesStatus | None:
    """Write status.files; None when nothing was verified."""
    if verified is None:
        return None
    return FilesStatus(
        revision=verified.revision,
        digest=verified.digest,
        bytes=verified.file_bytes,
        license=verified.license or None,
    )


def _text(message: Mapping[str, Any], key: str, limit: int = TEXT_MAX) -> str:
    value = message.get(key)
    return value[:limit] if isinstance(value, str) else ""


def _line(message: Mapping[str, Any], key: str) -> str:
    """Read one line of any length that a message may have."""
    value = _text(message, key)
    return value if value.isprintable() else ""


def _word(message: Mapping[str, Any], key: str) -> str:
    """Read what people see as it is: one line without anything that a terminal obeys."""
    value = _text(message, key, WORD_MAX)
    return value if value.isprintable() else ""


def _words(message: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Read texts; what else a list holds is no word of ours, and is not repeated."""
    texts = (each[:WORD_MAX] for each in message[key][:TASKS_MAX] if isinstance(each, str))
    return tuple(each for each in texts if each.isprintable())


def _kept(part: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: part.get(name) for name in names}
    return {
        name: value[:TEXT_MAX] if isinstance(value, str) else value
        for name, value in found.items()
        if isinstance(value, str | int | float)
    }


def _count(message: Mapping[str, Any], key: str) -> int:
    value = message.get(key)
    if isinstance(value, list):  # the names themselves are as good as their number
        return len(value)
    return int(min(max(value, 0), COUNT_MAX)) if isinstance(value, int | float) else 0


def _number(message: Mapping[str, Any], key: str) -> float:
    value = message.get(key)
    return float(min(max(value, 0), COUNT_MAX)) if isinstance(value, int | float) else 0.0
