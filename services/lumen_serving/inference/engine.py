"""Threads that work on what waits; the model's own take batches, run them and answer each item.

Decode threads put items into the line, the engine's threads answer them on the event loop: a
request crosses from one thread to another three times in all, with no task in between.
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_serving.backends.base import Backend
from lumen_serving.errors import BackendFailed, Stopping, TooLate
from lumen_serving.inference.queue import Batch, Item, ItemOutcome, RequestQueue, Scoring
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.errors import WireError

log = structlog.get_logger(__name__)

# Of the squared length: twice that of the length itself.
_UNIT_TOLERANCE = 2e-3

Answer = tuple[Item, ItemOutcome | WireError]
TaskT = TypeVar("TaskT")


class WorkerThreads(ABC, Generic[TaskT]):
    """Threads that work on what waits until they are stopped; an async context manager.

    `wake` is held around whatever waits, and notified when there is more of it.
    """

    def __init__(self, name: str, count: int) -> None:
        self.wake = threading.Condition()
        self.stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]

    @abstractmethod
    def take(self) -> TaskT | None:
        """Return what a free thread does next, None when there is nothing; `wake` is held."""

    @abstractmethod
    def work(self, task: TaskT) -> None:
        """Do it, and raise nothing."""

    @abstractmethod
    def drain(self) -> list[Item]:
        """Remove and return what still waits at the end; `wake` is held."""

    @abstractmethod
    def fail(self, item: Item, error: WireError) -> None:
        """Answer an item that goes no further; from any thread."""

    async def __aenter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self.wake:
            self.stopping = True
            left = self.drain()
            self.wake.notify_all()
        for item in left:
            self.fail(item, _stopping())
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            self.work(task)

    def _next(self) -> TaskT | None:
        with self.wake:
            while not self.stopping:
                task = self.take()
                if task is not None:
                    return task
                self.wake.wait()
        return None


def _stopping() -> Stopping:
    return Stopping("The server is stopping.")


class Engine(WorkerThreads[Batch]):
    """One thread per slot of the backend.

    `on_batch(modality, size, seconds)` hears how long each batch took, on the event loop.
    """

    def __init__(
        self,
        backend: Backend,
        max_batch_sizes: Mapping[Modality, int],
        metrics: ServerMetrics,
        on_batch: Callable[[Modality, int, float], None],
    ) -> None:
        super().__init__("engine", backend.slots)
        self._backend = backend
        self._dim = backend.report().dim
        self._metrics = metrics
        self._on_batch = on_batch
        self._line = RequestQueue(max_batch_sizes)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return await super().__aenter__()

    def submit(self, item: Item) -> None:
        """Let the item wait for the model; from any thread."""
        item.queued_at = time.monotonic()
        with self.wake:
            refused = self.stopping
            if not refused:
                self._line.put(item)
                self._metrics.queue_length(len(self._line))
                self.wake.notify()
        if refused:
            self.fail(item, _stopping())

    def fail(self, item: Item, error: WireError) -> None:
        """Answer an item that never reaches the model; from any thread."""
        self._answer([(item, error)])

    def take(self) -> Batch | None:
        """Return the next batch; `wake` is held."""
        if not len(self._line):
            return None
        taken = self._line.take(time.monotonic())
        self._metrics.queue_length(len(self._line))
        return taken

    def work(self, task: Batch) -> None:
        """Answer the dead and the living of a batch."""
        self._reject_expired(task.dead)
        if task.batch:
            self._run_batch(task.batch)

    def drain(self) -> list[Item]:
        """Remove and return what waits for the model; `wake` is held."""
        return self._line.drain()

    def _reject_expired(self, dead: list[Item]) -> None:
        if not dead:
            return
        self._metrics.dropped_dead(len(dead))
        sentence = "The deadline passed while the request waited for the model."
        self._answer([(item, TooLate(sentence)) for item in dead if not item.abandoned])

    def _run_batch(self, items: list[Item]) -> None:
        """Answer every item; when a batch of several fails, each gets one try of its own."""
        try:
            outcomes = self._outcomes(items)
        except Exception as error:  # whatever a runtime raises, the loop goes on
            self._metrics.batch_failed()
            if len(items) > 1:
                log.warning("batch failed, trying its items alone", size=len(items), exc_info=True)
                for item in items:
                    if not item.abandoned:
                        self._run_batch([item])
                return
            # Logged where it stops: the wire logs an Internal error with its cause.
            failure = BackendFailed("The model failed on this input.")
            failure.__cause__ = error
            self._answer([(items[0], failure)])
            return
        modality, model_ms = items[0].modality, outcomes[0].model_ms
        for outcome in outcomes:
            self._metrics.queue_waited(outcome.queue_ms / 1000)
        self._metrics.batch_done(modality, len(items), model_ms / 1000)
        answers = list(zip(items, outcomes, strict=True))
        seconds = (model_ms + outcomes[0].score_ms) / 1000
        self._call_on_loop(lambda: self._finish(modality, answers, seconds))

    def _finish(self, modality: Modality, answers: Sequence[Answer], seconds: float) -> None:
        self._on_batch(modality, len(answers), seconds)
        _deliver(answers)

    def _outcomes(self, items: list[Item]) -> list[ItemOutcome]:
        """Return what the model and the queries make of a batch."""
        data = np.stack([item.data for item in items if item.data is not None])
        began_at = time.monotonic()
        if items[0].modality is Modality.IMAGE:
            vectors = self._backend.embed_images(data)
        else:
            vectors = self._backend.embed_texts(data)
        model_ms = (time.monotonic() - began_at) * 1000
        if vectors.shape != (len(items), self._dim):
            raise ValueError(
                f"{len(items)} items gave vectors of shape {vectors.shape}, "
                f"not {(len(items), self._dim)}"
            )
        # Not `>`, which is false of what is not a number.
        if not (np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1) <= _UNIT_TOLERANCE).all():
            raise ValueError("the model gave a vector that is not finite and of length one")
        scored, score_ms = _scored(items, vectors)
        return [
            ItemOutcome(
                vector=vectors[row],
                scored=scored[row],
                decode_ms=item.decode_ms,
                queue_ms=(began_at - item.queued_at) * 1000,
                model_ms=model_ms,
                score_ms=score_ms,
            )
            for row, item in enumerate(items)
        ]

    def _answer(self, answers: Sequence[Answer]) -> None:
        if answers:
            self._call_on_loop(lambda: _deliver(answers))

    def _call_on_loop(self, function: Callable[[], None]) -> None:
        if self._loop is None:
            raise AssertionError("the engine was not entered")
        self._loop.call_soon_threadsafe(function)


def _deliver(answers: Sequence[Answer]) -> None:
    """Hand each answer to whoever still waits for it; on the event loop."""
    for item, outcome in answers:
        if item.answer.done():
            continue
        if isinstance(outcome, ItemOutcome):
            item.answer.set_result(outcome)
        else:
            item.answer.set_exception(outcome)


def _scored(items: list[Item], vectors: NDArray[np.float32]) -> tuple[list[Any], float]:
    """Return each item's score and how long all took: items of equal scorings go together."""
    began_at = time.monotonic()
    scored: list[Any] = [None] * len(items)
    groups: dict[Scoring, list[int]] = {}
    for row, item in enumerate(items):
        if item.scoring is not None:
            groups.setdefault(item.scoring, []).append(row)
    for scoring, rows in groups.items():
        for row, result in zip(rows, scoring.score(vectors[rows]), strict=True):
            scored[row] = result
    return scored, (time.monotonic() - began_at) * 1000 if groups else 0.0
