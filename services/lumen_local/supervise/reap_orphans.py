"""The reaper: a tiny process that outlives a killed parent just long enough to end its children.

Every Lumen process arms itself (`lumen_process.lifetime.die_with_parent`), but a program that does
not, or a grandchild, would live on after `kill -9` of `lumen up`. The reaper holds the reading end
of a pipe; when the pipe closes without the word `done`, the parent is dead, and the reaper ends
every process group it was told of and, on Linux, every process whose environment carries the run's
id: SIGTERM, a short wait, SIGKILL.

It is started by file name with `python -I -S`, so it imports the standard library only.
Lines of the pipe: `+PGID`, `-PGID`, `done`.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

RUN_ID = "LUMEN_RUN_ID"
TERM_WAIT_S = 3.0
KILL_WAIT_S = 5.0
POLL_S = 0.02


def main() -> None:
    """Wait for the pipe to close, then end what is left."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    run_id, groups = sys.argv[1], set[int]()
    for line in sys.stdin:
        word = line.strip()
        if word == "done":
            return
        if word.startswith("+"):
            groups.add(int(word[1:]))
        elif word.startswith("-"):
            groups.discard(int(word[1:]))
    end_run(run_id, groups)


def end_run(run_id: str, groups: set[int], term_wait_s: float = TERM_WAIT_S) -> None:
    """End every process of the run: politely, then not."""

    def signal_all(number: int) -> bool:
        alive = [g for g in groups if _signalled(os.killpg, g, number)]
        found = [p for p in marked_processes(run_id) if _signalled(os.kill, p, number)]
        return bool(alive or found)

    if signal_all(signal.SIGTERM) and not _until(lambda: not signal_all(0), term_wait_s):
        # A process may fork between the look and the kill: look again until nobody is left.
        _until(lambda: not signal_all(signal.SIGKILL), KILL_WAIT_S)


def marked_processes(run_id: str) -> list[int]:
    """Return the pids whose environment carries the run's id; without /proc, none."""
    mark = f"{RUN_ID}={run_id}".encode()
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        # Foreign, vanished and zombie processes cannot be read, and need no ending.
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _signalled(send: Callable[[int, int], None], target: int, number: int) -> bool:
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _until(finding: Callable[[], bool], bound_s: float) -> bool:
    deadline = time.monotonic() + bound_s
    while time.monotonic() < deadline:
        if finding():
            return True
        time.sleep(POLL_S)
    return finding()


if __name__ == "__main__":
    main()
