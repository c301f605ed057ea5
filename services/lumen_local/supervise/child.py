"""One operating-system process: started in a group of its own, read, ended with all it started.

Called by the steps and replicas of a run. It knows nothing of probes, restarts or routes.
`preexec_fn` is not used: it runs Python between fork and exec, which may deadlock in a process with
threads (gRPC has some). Children arm themselves, and the guard covers those that do not.
"""

import asyncio
import collections
import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from lumen_local.pod.processes import ProcessSpec
from lumen_local.show.log_lines import LineSplitter
from lumen_local.supervise.failures import Exit
from lumen_manifest.pod_reports import MAX_MESSAGE_BYTES

READ_BYTES = 64 * 1024
KEPT_LINES = 20
# After a process has ended its output is read to the end, unless a stranger holds the pipe open.
DRAIN_OUTPUT_S = 1.0


class ChildWatcher(Protocol):
    """Who must know the groups that live: the guard."""

    def group_started(self, pgid: int) -> None:
        """Remember a group."""

    def group_ended(self, pgid: int) -> None:
        """Forget a group."""


class Child:
    """A running process. Use it as an async context manager: leaving kills what still runs."""

    def __init__(
        self, spec: ProcessSpec, watcher: ChildWatcher, on_line: Callable[[str], None]
    ) -> None:
        self.spec = spec
        self.last_lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self.killed = False
        self._watcher = watcher
        self._on_line = on_line

    async def __aenter__(self) -> Self:
        """Start the process. Raises OSError when the program cannot be started."""
        remove_termination_log(self.spec)
        # A pipe of our own: asyncio's would delay wait() until every heir of it has closed it.
        reading, writing = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=dict(self.spec.env),
                cwd=self.spec.cwd,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.started_at = time.monotonic()
        self._watcher.group_started(self.pid)
        self._pump = asyncio.create_task(self._read(reading), name=f"log {self.spec.name}")
        self._ending = asyncio.create_task(self._end(), name=f"end {self.spec.name}")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the group if it still runs, and wait for its end."""
        if self._process.returncode is None:
            self.kill()
        await self.wait()

    @property
    def pid(self) -> int:
        """Return the process id, which is the group's id too."""
        return self._process.pid

    async def wait(self) -> Exit:
        """Wait until the process and its group have ended and all output is read."""
        return await asyncio.shield(self._ending)

    async def stop(self) -> Exit:
        """Ask for a drain by SIGTERM; after the grace period kill the whole group."""
        self._signal_leader(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), self.spec.grace_s)
        except TimeoutError:
            self.kill()
            return await self.wait()

    def kill(self) -> None:
        """Kill the process and everything in its group at once."""
        if self._process.returncode is None:
            self.killed = True
            self._signal_group(signal.SIGKILL)

    def termination_message(self) -> bytes:
        """Return what the process wrote to its termination log, bounded; empty when nothing."""
        with contextlib.suppress(OSError), self.spec.termination_log.open("rb") as log:
            return log.read(MAX_MESSAGE_BYTES + 1)
        return b""

    async def _end(self) -> Exit:
        code = await self._process.wait()
        # What the process has started goes with it, as in a container.
        self._signal_group(signal.SIGKILL)
        self._watcher.group_ended(self.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pump, DRAIN_OUTPUT_S)
        return Exit(code)

    async def _read(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        splitter = LineSplitter()
        try:
            while data := await reader.read(READ_BYTES):
                self._tell(splitter.push(data))
        finally:
            self._tell(splitter.close())
            transport.close()

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            if line.strip():
                self.last_lines.append(line)
                self._on_line(line)

    def _signal_leader(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def remove_termination_log(spec: ProcessSpec) -> None:
    """Remove what an earlier process of this name has left, and make room for the next."""
    spec.cwd.mkdir(parents=True, exist_ok=True)
    spec.termination_log.unlink(missing_ok=True)
