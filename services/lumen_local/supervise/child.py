"""One operating-system process: started in a group of its own, read, ended with all it started.

Called by the steps and replicas of a run. It knows nothing of probes, restarts or routes.
`preexec_fn` is not used: it runs Python between fork and exec, which may deadlock in a process with
threads (gRPC has some). Children arm themselves, and the reaper covers those that do not.
A process that wrote no termination message is judged by its exit code and its last log lines, as
`terminationMessagePolicy: FallbackToLogsOnError` does.
"""

import asyncio
import collections
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from lumen_local.pod.processes import ProcessSpec
from lumen_local.show.log_lines import LineSplitter
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import MAX_MESSAGE_BYTES, Failure, named_failure
from lumen_process.backoff import Backoff

RESTARTS = Backoff(first_s=0.5, longest_s=30.0, chance=0.0)
"""Kubernetes' crash-loop rule at a person's pace: 10 s to 5 min there."""

STABLE_S = 60.0


def failures_after(failures: int, uptime_s: float) -> int:
    """Count one more failure; after a stable time it is the first again."""
    return 1 if uptime_s >= STABLE_S else failures + 1


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


def failure_of(
    message: Mapping[str, Any], ended: Exit, last_lines: Sequence[str], *, init: bool
) -> Failure:
    """Name the failure of a process: its own words first, else its exit and its last lines."""
    named = named_failure(message)
    if named is not None:
        return named
    said = last_lines[-1].strip() if last_lines else ""
    text = f"The process {ended.text}."
    if ended.code == -signal.SIGKILL:
        text += " Nobody here asked for it: this machine may be short of memory."
    return Failure(
        reason=Reason.UNKNOWN if init else Reason.SERVER_CRASHED,
        message=f"{text} Its last line: {said}" if said else text,
    )


READ_BYTES = 64 * 1024
KEPT_LINES = 20
# After a process has ended its output is read to the end, unless a stranger holds the pipe open.
DRAIN_OUTPUT_S = 1.0


class ChildWatcher(Protocol):
    """Who must know the groups that live: the reaper."""

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

    async def __aexit__(self, *_: object) -> None:
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
