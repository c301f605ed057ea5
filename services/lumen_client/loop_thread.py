"""An event loop in a thread of its own, for code that has none: open, call, close.

Calls come from any thread but the loop's own, and only from the process that opened it: a fork
copies neither thread nor connections.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from lumen_client.errors import UsageError

T = TypeVar("T")

CLOSED_MEANWHILE = "the client was closed during this call. Close it after its last call."
OTHER_PROCESS = "the client was opened in another process. Open one in each process that calls."


def _left_of_grpc(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what fails in the background, but for gRPC's last look at a socket that it closed."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno == errno.EBADF):
        loop.default_exception_handler(context)


class LoopThread:
    """Starts with its making; `stop` ends whatever still runs."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._loop.set_exception_handler(_left_of_grpc)
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="lumen-client", daemon=True
        )
        self._thread.start()

    @property
    def is_ours(self) -> bool:
        """Whether this process made it: in a forked one there is nothing to stop."""
        return self._process == os.getpid()

    def submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a call; raises UsageError where it would never end."""
        why = self._why_not()
        with self._lock:
            if self._loop is not None and not why:
                return asyncio.run_coroutine_threadsafe(call, self._loop)
        call.close()  # it would be told of as never awaited
        raise UsageError(why or CLOSED_MEANWHILE)

    def _why_not(self) -> str:
        if not self.is_ours:
            return OTHER_PROCESS
        if threading.current_thread() is self._thread:
            return (
                "the client is called from an asynchronous generator that it reads itself. "
                "Use AsyncClient there, or another Client."
            )
        return ""

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what a call returns; Ctrl-C ends it."""
        future = self.submit(call)
        try:
            return future.result()
        except CancelledError as error:
            raise UsageError(CLOSED_MEANWHILE) from error
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End what still runs, then the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or not self.is_ours:
            return
        with suppress(CancelledError):
            asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
