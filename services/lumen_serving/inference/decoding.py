"""The threads that make model input of payloads, before anything waits for the model.

As many as there are cores: the decoders of pictures release the interpreter's lock, and the model
shares the same cores with them. How much may wait here is bounded by admission.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lumen_serving.errors import BackendFailed, Overloaded, Stopping, TooLate
from lumen_serving.inference.decode_lines import DecodeQueues, Job
from lumen_serving.inference.engine import Engine, Item
from lumen_serving.media.work import PreprocessWork
from lumen_serving.metrics import ServerMetrics
from lumen_wire.errors import WireError


class PreprocessPool:
    """`workers` threads in front of the engine; an async context manager.

    `on_done(seconds)` hears of every item, on one of the threads, when it leaves the line of the
    small ones; 0 means that it was not decoded there.
    """

    def __init__(
        self,
        workers: int,
        lines: DecodeQueues,
        engine: Engine,
        metrics: ServerMetrics,
        on_done: Callable[[float], None],
    ) -> None:
        self._lines = lines
        self._engine = engine
        self._metrics = metrics
        self._on_done = on_done
        self._wake = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"decode_{number}", daemon=True)
            for number in range(workers)
        ]

    @property
    def most_bytes(self) -> int:
        """The most memory that decoding one payload may take."""
        return self._lines.most_bytes

    async def __aenter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._wake:
            self._stopping = True
            left = self._lines.drain()
            self._wake.notify_all()
        for job in left:
            self._engine.fail(job.item, Stopping("The server is stopping."))
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def submit(self, item: Item, look: Callable[[], PreprocessWork]) -> None:
        """Do the work that `look` finds in a thread, and hand the item on to the engine.

        What either raises answers the item: a `WireError` as it is, anything else as Internal.
        """
        with self._wake:
            self._lines.put(Job(item, look))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                job = None
                while not self._stopping and (job := self._lines.take()) is None:
                    self._wake.wait()
            if job is None:
                return
            step = self._look if job.work is None else self._make
            try:
                step(job, time.monotonic())
            except WireError as error:
                self._engine.fail(job.item, error)
            except BaseException as error:  # noqa: BLE001 - panics of Rust are no Exception
                self._engine.fail(job.item, _surprise(error))

    def _look(self, job: Job, began_at: float) -> None:
        """Find out what there is to do, and do it at once if it is little."""
        try:
            self._check_alive(job, began_at)
            job.work = job.look()
            with self._wake:
                goes_on = self._lines.begin(job, time.monotonic())
            if goes_on:
                self._make(job, began_at)
        except Overloaded:
            self._metrics.refused("decode")
            raise
        finally:
            # Large work waits in a line of its own, which newcomers need not count.
            small = job.work is not None and not job.large
            self._on_done(time.monotonic() - began_at if small else 0)

    def _make(self, job: Job, began_at: float) -> None:
        try:
            self._check_alive(job, began_at)
            if job.work is None:
                raise AssertionError("nobody has looked at the payload")
            job.item.data = job.work.make()
        finally:
            with self._wake:
                self._lines.end(job)
                self._wake.notify()
        seconds = time.monotonic() - began_at
        job.item.decode_ms = seconds * 1000
        self._metrics.decoded(job.item.modality, seconds)
        self._engine.submit(job.item)

    def _check_alive(self, job: Job, now: float) -> None:
        if job.item.abandoned or job.item.deadline_at <= now:
            self._metrics.dropped_dead(1)
            raise TooLate("The deadline passed before the payload was decoded.")


def _surprise(error: BaseException) -> BackendFailed:
    failure = BackendFailed("The payload could not be prepared for the model.")
    failure.__cause__ = error
    return failure
