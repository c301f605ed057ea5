"""One writer at a time in a model's cache folder, also when nodes share it.

A lease is a small file that its holder renews. Whoever finds one waits; when it stays unrenewed
for its whole duration, by the waiter's own clock, its holder is dead and it is taken over. So no
two clocks are ever compared. On the same machine a dead holder is known at once.
"""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import orjson

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import SourceUnavailableError, translated

# What a holder writes of itself has some 300 bytes.
LEASE_BYTES = 4096
FILE_NAME = "lease.json"
DURATION_S = 30.0
POLL_S = 0.25


class Lease:
    """A context manager that holds the lease of `folder`; entering waits for it.

    `waiting` is told once who holds it. Entering raises SourceUnavailableError after `patience_s`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        duration_s: float = DURATION_S,
        patience_s: float = 3600.0,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._duration_s = duration_s
        self._patience_s = patience_s
        self._waiting = waiting
        self._nonce = uuid.uuid4().hex
        self._count = 0
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.waited = False

    def __enter__(self) -> Self:
        with translated(self._folder, "taking the cache's lease"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._renewer.join()
        # A full or vanished disk must not hide what went wrong inside; the lease then runs out.
        with contextlib.suppress(OSError), self._guarded():
            if self._is_ours():
                self._path.unlink(missing_ok=True)

    def ensure_held(self) -> None:
        """Raise SourceUnavailableError when another took the lease over meanwhile."""
        if self._lost.is_set() or not self._is_ours():
            raise SourceUnavailableError(
                f"{self._path} was taken over by another process while this one stood still.",
                remedy="Start again; what was fetched is kept.",
                file=str(self._path),
            )

    def _acquire(self) -> None:
        give_up = time.monotonic() + self._patience_s
        seen: bytes | None = None
        unchanged_since = time.monotonic()
        while True:
            now = time.monotonic()
            with self._guarded():
                held = self._content()
                if held != seen:
                    seen, unchanged_since = held, now
                stale = now - unchanged_since >= self._duration_s
                if held is None or stale or _holder_is_dead(held):
                    self._write()
                    return
            if not self.waited:
                self.waited = True
                self._waiting(_describe(held))
            if now > give_up:
                raise SourceUnavailableError(
                    f"{self._path} is held by {_describe(held)} for {self._patience_s:.0f} s.",
                    remedy="Wait until that one has finished, or end it.",
                    file=str(self._path),
                )
            self._stop.wait(min(POLL_S, self._duration_s / 4))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Read and write the lease as one step, where the file system can lock files.

        Where it cannot, two may take over a stale lease at the same moment; verified files are
        moved into place whole, so that costs traffic and nothing else.
        """
        with (self._folder / f"{FILE_NAME}.guard").open("a+b") as guard:
            with contextlib.suppress(OSError):
                fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _content(self) -> bytes | None:
        try:
            return read_bounded(self._path, LEASE_BYTES)
        except FileNotFoundError:
            return None

    def _is_ours(self) -> bool:
        content = self._content()
        return content is not None and _field(content, "nonce") == self._nonce

    def _write(self) -> None:
        self._count += 1
        content = {
            "nonce": self._nonce,
            "count": self._count,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _process_identity(os.getpid()),
        }
        temporary = self._folder / f"{FILE_NAME}.{self._nonce}"
        try:
            temporary.write_bytes(orjson.dumps(content))
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._stop.wait(self._duration_s / 3):
            # One missed renewal is no loss (a full disk refuses them): another's lease is.
            with contextlib.suppress(OSError), self._guarded():
                if not self._is_ours():
                    self._lost.set()
                    return
                self._write()


def _field(content: bytes, name: str) -> object:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return document.get(name) if isinstance(document, dict) else None


def _describe(content: bytes) -> str:
    return f"process {_field(content, 'pid')} on {_field(content, 'host')}"


def _process_identity(pid: int) -> str:
    """Return the boot and the moment a process started, which no reused pid shares; '' if gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # the target is not a path
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field may hold spaces and parentheses; the 22nd is the start time in ticks.
    started = stat.rpartition(")")[2].split()[19]
    return f"{boot}/{namespace}/{started}"


def _holder_is_dead(content: bytes) -> bool:
    """Whether the holder ran in this boot and pid namespace, and is no more."""
    pid, identity = _field(content, "pid"), _field(content, "process")
    if not isinstance(pid, int) or not isinstance(identity, str) or not identity:
        return False
    here = _process_identity(os.getpid())
    if not here or here.rpartition("/")[0] != identity.rpartition("/")[0]:
        return False
    return _process_identity(pid) != identity
