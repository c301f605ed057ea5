"""Programs in the background: how they start and stop, and their logs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_TIED = Path(__file__).with_name("tied_to_parent.py")
_STOP_WITHIN_S = 20.0
_POLL_S = 0.02
_LOG_TAIL_BYTES = 4000


class ProgramFailed(RuntimeError):
    """A program ended or did not get ready; the message carries the end of its log."""


def wait_until(
    holds: Callable[[], bool], within_s: float, what: str, every_s: float = _POLL_S
) -> None:
    """Return once the condition holds; it is asked for again and again.

    Raises:
        TimeoutError: it did not within the bound; the message says what was waited for.

    """
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(every_s)


class Program:
    """One program that dies with this process, even with `kill -9`; its output goes to a file.

    Linux ties it to the thread that calls `start`: start it where the process lives as long.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id; raises ProgramFailed when it does not run."""
        if self._process is None:
            raise ProgramFailed(f"{self._log.stem} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs, and before."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; the log of an earlier run is continued."""
        tied = [sys.executable, "-I", "-S", str(_TIED), str(os.getpid())]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, ready: Callable[[], bool], within_s: float = 60.0) -> None:
        """Return once it is ready; raises ProgramFailed with its log when it ends or is late."""

        def ended_or_ready() -> bool:
            return not self.running or ready()

        try:
            wait_until(ended_or_ready, within_s, f"{self._log.stem} is ready")
        except TimeoutError as late:
            raise ProgramFailed(f"{late}\n{self.log_tail()}") from late
        if not self.running:
            raise ProgramFailed(f"{self._log.stem} ended\n{self.log_tail()}")

    def pause(self) -> None:
        """Stop it where it is, and return once none of its threads runs.

        A signal is delivered when one of its threads gets a processor: until then the others work.
        """
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on where it was paused."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would, and wait for that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_WITHIN_S)

    def stop(self) -> None:
        """Ask it to end, wait, and kill it when it does not; safe when it has ended."""
        if self._process is None or not self.running:
            return
        # A paused program would not hear the other signal.
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self) -> str:
        """Return the last lines of its output."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
