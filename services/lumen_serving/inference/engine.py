"""The model's threads: they take batches from the line, run them and answer each item.

Decode threads put items into the line, the engine's threads answer them on the event loop: a
request crosses from one thread to another three times in all, with no task in between.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_serving.backends.base import Backend
from lumen_serving.errors import BackendFailed, Stopping, TooLate
from lumen_serving.inference.queue import RequestQueue
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.errors import WireError
from lumen_wire.request.callers import STRANGER, Caller

log = structlog.get_logger(__name__)

# Of the squared length: twice that of the length itself.
_UNIT_TOLERANCE = 2e-3


class Scoring(Hashable, Protocol):
    """What is made of a vector beyond itself; equal ones are asked once per batch."""

    def score(self, vectors: NDArray[np.float32]) -> Sequence[Any]:
        """Return one result for each unit row of [N, dim]."""
        ...


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What one item got: its unit vector [dim], its score when it asked for one, and the times."""

    vector: NDArray[np.float32]
    scored: Any
    decode_ms: float
    queue_ms: float
    model_ms: float
    score_ms: float


@dataclass(slots=True, eq=False)
class Item:
    """One picture uint8 [S, S, 3] or one row of tokens int64 [L] on its way through the model."""

    modality: Modality
    deadline_at: float
    answer: asyncio.Future[ItemOutcome]
    scoring: Scoring | None = None
    data: NDArray[Any] | None = None
    decode_ms: float = 0.0
    queued_at: float = 0.0
    caller: Caller = STRANGER

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.answer.done()


@dataclass(slots=True)
class _Batch:
    """A batch that went through the model: when it began, how long that took, what came out."""

    items: list[Item]
    began_at: float
    model_ms: float
    vectors: NDArray[np.float32]
    scored: list[Any] = field(default_factory=list)
    score_ms: float = 0.0


Answer = tuple[Item, ItemOutcome | WireError]


class Engine:
    """One thread per slot of the backend; an async context manager that owns them.

    `on_batch(modality, size, seconds)` hears how long each batch took, on the event loop.
    """

    def __init__(
        self,
        backend: Backend,
        max_batch_sizes: Mapping[Modality, int],
        metrics: ServerMetrics,
        on_batch: Callable[[Modality, int, float], None],
    ) -> None:
        self._backend = backend
        self._dim = backend.report().dim
        self._metrics = metrics
        self._on_batch = on_batch
        self._line: RequestQueue[Item] = RequestQueue(max_batch_sizes)
        self._wake = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for slot in range(self._backend.slots):
            thread = threading.Thread(target=self._work, name=f"engine-{slot}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._wake:
            self._stopping = True
            left = self._line.drain()
            self._wake.notify_all()
        _deliver([(item, Stopping("The server is stopping.")) for item in left])
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def submit(self, item: Item) -> None:
        """Let the item wait for the model; from any thread."""
        item.queued_at = time.monotonic()
        with self._wake:
            refused = self._stopping
            if not refused:
                self._line.put(item)
                self._metrics.queue_length(len(self._line))
                self._wake.notify()
        if refused:
            self._answer([(item, Stopping("The server is stopping."))])

    def fail(self, item: Item, error: WireError) -> None:
        """Answer an item that never reaches the model; from any thread."""
        self._answer([(item, error)])

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or len(self._line) > 0)
                if self._stopping:
                    return
                taken = self._line.take(time.monotonic())
                self._metrics.queue_length(len(self._line))
            self._bury(taken.dead)
            if taken.batch:
                self._run(taken.batch)

    def _bury(self, dead: list[Item]) -> None:
        if not dead:
            return
        self._metrics.dropped_dead(len(dead))
        sentence = "The deadline passed while the request waited for the model."
        self._answer([(item, TooLate(sentence)) for item in dead if not item.abandoned])

    def _run(self, items: list[Item]) -> None:
        """Answer every item; when a batch of several fails, each gets one try of its own."""
        try:
            batch = self._embed(items)
            _score(batch)
        except Exception as error:  # whatever a runtime raises, the loop goes on
            self._metrics.batch_failed()
            if len(items) > 1:
                log.warning("batch failed, trying its items alone", size=len(items), exc_info=True)
                for item in items:
                    if not item.abandoned:
                        self._run([item])
                return
            # Logged where it stops: the wire logs an Internal error with its cause.
            failure = BackendFailed("The model failed on this input.")
            failure.__cause__ = error
            self._answer([(items[0], failure)])
            return
        self._report(batch)
        answers = list(zip(items, _outcomes(batch), strict=True))
        seconds = (batch.model_ms + batch.score_ms) / 1000
        self._call_on_loop(lambda: self._finish(items[0].modality, answers, seconds))

    def _finish(self, modality: Modality, answers: Sequence[Answer], seconds: float) -> None:
        self._on_batch(modality, len(answers), seconds)
        _deliver(answers)

    def _embed(self, items: list[Item]) -> _Batch:
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
        # Not `>`, which is false of what is no number.
        if not (np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1) <= _UNIT_TOLERANCE).all():
            raise ValueError("the model gave a vector that is not finite and of length one")
        return _Batch(items, began_at, model_ms, vectors)

    def _report(self, batch: _Batch) -> None:
        for item in batch.items:
            self._metrics.queue_waited(batch.began_at - item.queued_at)
        self._metrics.batch_done(batch.items[0].modality, len(batch.items), batch.model_ms / 1000)

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


def _score(batch: _Batch) -> None:
    """Fill in the scores: items with equal scorings are scored together."""
    began_at = time.monotonic()
    batch.scored = [None] * len(batch.items)
    groups: dict[Scoring, list[int]] = {}
    for row, item in enumerate(batch.items):
        if item.scoring is not None:
            groups.setdefault(item.scoring, []).append(row)
    for scoring, rows in groups.items():
        for row, result in zip(rows, scoring.score(batch.vectors[rows]), strict=True):
            batch.scored[row] = result
    batch.score_ms = (time.monotonic() - began_at) * 1000 if groups else 0.0


def _outcomes(batch: _Batch) -> list[ItemOutcome]:
    return [
        ItemOutcome(
            vector=batch.vectors[row],
            scored=batch.scored[row],
            decode_ms=item.decode_ms,
            queue_ms=(batch.began_at - item.queued_at) * 1000,
            model_ms=batch.model_ms,
            score_ms=batch.score_ms,
        )
        for row, item in enumerate(batch.items)
    ]
