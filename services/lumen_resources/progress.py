"""How far the work is: written by the one that works, shown by /status, logs and the command."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog

# The rate is that of the last seconds: an average since the start hides a source gone slow.
WINDOW_S = 5.0
ERROR_MAX = 300

log = structlog.get_logger("lumen_resources")


class FetchPhase(StrEnum):
    """What is being done."""

    STARTING = "Starting"
    WAITING = "Waiting"
    FETCHING = "Fetching"
    VERIFYING = "Verifying"
    CHECKING = "Checking"
    PREPARING = "Preparing"
    DONE = "Done"


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """One look at the progress; `eta_s` is None while there is no rate to tell from.

    `failures` counts how often the source failed in a way that is tried again.
    """

    phase: FetchPhase
    bytes_done: int
    bytes_total: int
    rate_bytes_per_s: float
    eta_s: float | None
    file: str
    files_done: int
    files_total: int
    failures: int = 0
    last_error: str = ""

    def as_status(self) -> dict[str, Any]:
        """Return the document that GET /status answers."""
        return {
            "phase": str(self.phase),
            "bytesDone": self.bytes_done,
            "bytesTotal": self.bytes_total,
            "rateBytesPerS": round(self.rate_bytes_per_s),
            "etaSeconds": None if self.eta_s is None else round(self.eta_s),
            "file": self.file,
            "filesDone": self.files_done,
            "filesTotal": self.files_total,
            "failures": self.failures,
            "lastError": self.last_error,
        }


class Progress:
    """The progress of one fetch; every method may be called from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._phase = FetchPhase.STARTING
        self._done = self._total = self._files_done = self._files_total = 0
        self._failures, self._last_error = 0, ""
        self._working: dict[str, None] = {}
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def begin(
        self, phase: FetchPhase, *, total_bytes: int = 0, kept_bytes: int = 0, files: int = 0
    ) -> None:
        """Enter a phase; `kept_bytes` of `total_bytes` are already there and count for no rate."""
        with self._guard:
            self._phase = phase
            self._done, self._total = kept_bytes, total_bytes
            self._files_done, self._files_total = 0, files
            self._working.clear()
            self._marks.clear()
            self._marks.append((time.monotonic(), kept_bytes))

    def at(self, file: str) -> None:
        """Say which file is at work; several may be, until each is done."""
        with self._guard:
            self._working[file] = None

    def file_done(self, file: str) -> None:
        """Count one file as finished."""
        with self._guard:
            self._files_done += 1
            self._working.pop(file, None)

    def failed(self, error: str) -> None:
        """Count a failure of the source that is tried again, and say so in the log."""
        with self._guard:
            self._failures += 1
            self._last_error = error[:ERROR_MAX]
            attempt = self._failures + 1
        log.warning("the source failed and is asked again", attempt=attempt, error=error)

    def wait_for(self, holder: str) -> None:
        """Say that another process works in the same folder, and that it is waited for."""
        self.begin(FetchPhase.WAITING)
        self.at(f"the cache is in use by {holder}")

    def add(self, count: int) -> None:
        """Count bytes; negative when some must be fetched anew."""
        now = time.monotonic()
        with self._guard:
            self._done += count
            if count < 0 or now - self._marks[-1][0] >= 0.1:
                self._marks.append((now, self._done))
            while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_S:
                self._marks.popleft()

    def snapshot(self) -> ProgressSnapshot:
        """Return how far the work is now."""
        now = time.monotonic()
        with self._guard:
            since, before = self._marks[0]
            rate = max(0.0, (self._done - before) / max(now - since, 0.001))
            left = max(0, self._total - self._done)
            return ProgressSnapshot(
                phase=self._phase,
                bytes_done=self._done,
                bytes_total=self._total,
                rate_bytes_per_s=rate,
                eta_s=left / rate if rate > 0 else (0.0 if left == 0 else None),
                file=self._at_work(),
                files_done=self._files_done,
                files_total=self._files_total,
                failures=self._failures,
                last_error=self._last_error,
            )

    def _at_work(self) -> str:
        """Name the file that is at work longest, and how many beside it."""
        first, *others = self._working or [""]
        return f"{first} and {len(others)} more" if others else first
