"""What a source promises: a snapshot of a model, and its files from any byte on."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from lumen_process.backoff import Backoff
from lumen_resources.errors import SourceUnavailableError
from lumen_resources.sources.promises import FilePromise


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """A repository at one revision, and what it promises of its files.

    A hub lists them all, and `model_info` is None: whether there is one is in the list. A plain
    folder is known by its model_info.json alone, which promises what it names.
    `repository` is owner/name at a hub.
    """

    revision: str
    promises: Mapping[str, FilePromise]
    model_info: bytes | None = None
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """The rest of a file: `blocks` start at byte `offset`, which may be 0 although more was asked.

    `total` is the whole file's size when the source says so; `validator` names its version.
    """

    offset: int
    total: int | None
    validator: str
    blocks: Iterator[bytes]


class RemoteSource(Protocol):
    """A source whose files are fetched into the cache; several may be read at the same time.

    `keeps_history` says whether an earlier revision can be asked for when a newer one is current.
    """

    uri: str
    keeps_history: bool

    def snapshot(self, revision: str) -> SourceSnapshot:
        """Resolve `revision` (empty: whatever is current) and describe it.

        What is read afterwards is of this revision.
        """

    def at_hand(self, path: str, promise: FilePromise) -> Path | None:
        """Return where this machine may have the file already; it is verified like any other."""

    def document(self, path: str, most_bytes: int) -> bytes:
        """Return a small file as a whole, one byte more than `most_bytes` when it is longer.

        Raises SourceUnavailableError when it has not come within DOCUMENT_S.
        """

    def read(self, path: str, offset: int, validator: str) -> AbstractContextManager[Part]:
        """Open a file from byte `offset` on, provided it is still the version `validator`."""

    def close(self) -> None:
        """Release connections."""


# A document that describes files: sent by now, or the server sends it byte by byte.
DOCUMENT_S = 120.0
RETRIES = Backoff(first_s=1.0, longest_s=15.0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a source may fail: `attempts` in a row without a byte of progress."""

    attempts: int = 6
    backoff: Backoff = RETRIES
    longest_asked_s: float = 60.0

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """Return the wait after the n-th failure in a row; what the source asks for is bounded."""
        if asked_s is not None:
            return min(asked_s, self.longest_asked_s)
        return self.backoff.delay_s(failures)


@dataclass(frozen=True, slots=True)
class SourceAccess:
    """With what a source is asked: a Secret's values (empty: none), time-outs, retries.

    `variables` are those by which hubs' own tools are told of mirrors, tokens and keys.
    """

    token: str = field(default="", repr=False)
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_s: float = 10.0
    read_s: float = 30.0
    retries: RetryPolicy = RetryPolicy()

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Self:
        """Read the Secret's values, and keep the hubs' own variables for whom they concern."""
        return cls(
            token=variables.get("LUMEN_SOURCE_TOKEN", ""),
            access_key_id=variables.get("LUMEN_SOURCE_ACCESS_KEY_ID", ""),
            secret_access_key=variables.get("LUMEN_SOURCE_SECRET_ACCESS_KEY", ""),
            variables=variables,
        )


class TransientError(SourceUnavailableError):
    """The source failed in a way that may pass; `retry_after_s` is what it asked for, if it did."""

    def __init__(self, message: str, *, remedy: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class RangeRefusedError(TransientError):
    """The source does not have the range: what was kept is of no use."""


def revision_fits(asked: str, resolved: str) -> bool:
    """Whether a revision that was asked for is the resolved one, or stands for whatever is there.

    A folder has no branches: `main` and nothing mean its present content.
    """
    return asked in {"", "main"} or (len(asked) >= 7 and resolved.startswith(asked))
