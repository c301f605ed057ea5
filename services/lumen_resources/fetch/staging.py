"""One folder of the cache that files are fetched into: what is here, what is missing, the move."""

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import (
    FileMissingError,
    ResourceNotFoundError,
    ResourceValidationError,
    translated,
)
from lumen_resources.fetch.room import CacheRoom
from lumen_resources.fetch.transfer import FetchedFile, bytes_to_come, fetch_missing
from lumen_resources.model.model_info import FileDigest
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.promises import FilePromise, measured
from lumen_resources.sources.protocol import (
    RemoteSource,
    RetryPolicy,
    SourceAccess,
    SourceSnapshot,
    TransientError,
)

SIDE_FOLDER = ".lumen"
# What is read as a whole to find out what a repository is: configurations and tokenizers.
SMALL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """`force` asks the source although the cache is complete; files that agree are kept."""

    access: SourceAccess = field(default_factory=SourceAccess)
    force: bool = False
    room: CacheRoom = CacheRoom()  # noqa: RUF009 - frozen, so it may be shared


Answer = TypeVar("Answer")


def patiently(
    ask: Callable[[], Answer], retries: RetryPolicy, failed: Callable[[str], None]
) -> Answer:
    """Call `ask` until it answers or has failed transiently too often; `failed` is told of each."""
    for failures in range(1, retries.attempts):
        try:
            return ask()
        except TransientError as error:
            failed(error.message)
            time.sleep(retries.wait_s(failures, error.retry_after_s))
    return ask()


def current(
    source: RemoteSource, asked: str, pinned: str, retries: RetryPolicy, progress: Progress
) -> SourceSnapshot:
    """Describe the pinned revision, where the source still has it, else the one asked for."""
    if pinned and source.keeps_history:
        with contextlib.suppress(ResourceNotFoundError):
            return patiently(lambda: source.snapshot(pinned), retries, progress.failed)
    return patiently(lambda: source.snapshot(asked), retries, progress.failed)


class Staging:
    """Files of one source on their way into one folder; the folder's lease is the caller's."""

    def __init__(
        self, place: Path, source: RemoteSource, progress: Progress, options: FetchOptions
    ) -> None:
        self.place = place
        self.source = source
        self._progress = progress
        self._retries = options.access.retries
        self._room = options.room
        self._looked_at: set[Path] = set()

    def snapshot(self, asked: str, pinned: str) -> SourceSnapshot:
        """Describe the pinned revision, where the source still has it, else the one asked for."""
        return current(self.source, asked, pinned, self._retries, self._progress)

    def small_file(self, path: str, promises: Mapping[str, FilePromise]) -> bytes:
        """Return the verified bytes of a small file; it stays here for when it is wanted again."""
        promise = promises.get(path)
        if promise is None:
            raise FileMissingError(
                f"{path} is not in {self.source.uri}.",
                remedy="Name a repository that is complete.",
                file=path,
            )
        if promise.size > SMALL_BYTES:
            raise ResourceValidationError(
                f"{path} has {promise.size:,} bytes; at most {SMALL_BYTES:,} are read.",
                remedy="Name a repository whose configuration is a plain small file.",
                file=path,
            )
        place = self.place / path
        if measured(place, promise) is None:
            place = self.fetch({path: promise})[path].place
            self._looked_at.add(place)
        with translated(place, "reading"):
            return read_bounded(place, SMALL_BYTES)

    def fetch(self, missing: Mapping[str, FilePromise]) -> dict[str, FetchedFile]:
        """Fetch files into the side folder, and verify them there."""
        incoming = self.place / SIDE_FOLDER / "incoming"
        with translated(incoming, "preparing the download"):
            incoming.mkdir(parents=True, exist_ok=True)
            self._room.refuse_more(incoming, bytes_to_come(missing, incoming))
        return fetch_missing(self.source, missing, incoming, self._progress, self._retries)

    def what_is_here(
        self, promises: Mapping[str, FilePromise]
    ) -> tuple[dict[str, FileDigest], dict[str, FilePromise]]:
        """Return the digests of what is here, and what is not, or is another file."""
        total = sum(p.size for path, p in promises.items() if (self.place / path).is_file())
        self._progress.begin(FetchPhase.VERIFYING, total_bytes=total, files=len(promises))
        here, missing = {}, {}
        for path, promise in promises.items():
            self._progress.at(path)
            digest = measured(self.place / path, promise, self._progress.add)
            if digest is None:
                missing[path] = promise
            else:
                here[path] = digest
            self._progress.file_done(path)
        return here, missing

    def move_into_place(self, complete: Mapping[str, Path]) -> None:
        """Every file is verified by now: each move is one step."""
        uses = Counter(complete.values())
        for path, staged in complete.items():
            target = self.place / path
            with translated(target, "moving into place"):
                target.parent.mkdir(parents=True, exist_ok=True)
                uses[staged] -= 1
                if uses[staged]:
                    twin = staged.with_name(f"{staged.name}.copy")
                    shutil.copyfile(staged, twin)
                    twin.replace(target)
                else:
                    staged.replace(target)
                    with contextlib.suppress(OSError):
                        staged.parent.rmdir()

    def put_away(self) -> None:
        """Remove what was only looked at to find out what the repository is."""
        for place in self._looked_at:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
                place.parent.rmdir()
