"""Keeps the reaper alive and told: reap_orphans.py says what it is for."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Self

from lumen_local.supervise import reap_orphans

# A reaper that dies at once again and again must not cost a core.
RESTART_DELAY_S = 0.5


class OrphanReaper:
    """The reaper process of one run; leaving it says `done`, so that it ends in peace."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._groups: set[int] = set()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start the reaper and keep watching it."""
        await self._start()
        self._keeping = asyncio.create_task(self._keep(), name="reaper")
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what the run has left behind, then the reaper."""
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        await asyncio.to_thread(reap_orphans.end_run, self._run_id, set())
        self._say("done")
        if self._process is not None:
            await self._process.wait()

    @property
    def pid(self) -> int:
        """Return the reaper's process id."""
        if self._process is None:
            raise RuntimeError("The reaper is not running.")
        return self._process.pid

    def group_started(self, pgid: int) -> None:
        """Tell the reaper of a process group that dies with us."""
        self._groups.add(pgid)
        self._say(f"+{pgid}")

    def group_ended(self, pgid: int) -> None:
        """Tell the reaper that a group is gone, so that a recycled id is never signalled."""
        self._groups.discard(pgid)
        self._say(f"-{pgid}")

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(Path(reap_orphans.__file__)), self._run_id),
            stdin=asyncio.subprocess.PIPE,
            # The run's outputs must close when the run ends: the reaper holds none of them.
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        for pgid in self._groups:
            self._say(f"+{pgid}")

    async def _keep(self) -> None:
        while self._process is not None:
            await self._process.wait()
            await asyncio.sleep(RESTART_DELAY_S)
            await self._start()

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(f"{line}\n".encode())
