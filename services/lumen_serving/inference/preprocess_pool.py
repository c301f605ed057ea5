"""An item's way: admission, the threads that make model input of payloads, the engine.

As many as there are cores: the decoders of pictures release the interpreter's lock, and the model
shares the same cores with them. How much may wait here is bounded by admission.
What a payload costs is known only once its header was read, so everything comes in by the small
line. What turns out large waits apart and begins when there is memory for it; it leaves a thread
to the small ones, or takes turns with them where there is one thread, so that neither holds up
the other. In both lines callers take turns.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from lumen_serving.errors import BackendFailed, Overloaded, TooLate
from lumen_serving.inference.admission import Admission
from lumen_serving.inference.engine import Engine, WorkerThreads
from lumen_serving.inference.queue import DecodeQueues, Item, ItemOutcome, Job, Scoring
from lumen_serving.media.preprocess import PreprocessWork
from lumen_serving.metrics import ServerMetrics
from lumen_terms.modality import Modality
from lumen_wire.errors import WireError
from lumen_wire.request.callers import Caller


class PreprocessPool(WorkerThreads[Job]):
    """`workers` threads in front of the engine, whose admission hears how long they take."""

    def __init__(
        self,
        workers: int,
        lines: DecodeQueues,
        engine: Engine,
        metrics: ServerMetrics,
        admission: Admission,
    ) -> None:
        super().__init__("decode", workers)
        self._lines = lines
        self._engine = engine
        self._metrics = metrics
        self._admission = admission

    @property
    def most_bytes(self) -> int:
        """The most memory that decoding one payload may take."""
        return self._lines.most_bytes

    def submit(self, item: Item, look: Callable[[], PreprocessWork]) -> None:
        """Do the work that `look` finds in a thread, and hand the item on to the engine.

        What either raises answers the item: a `WireError` as it is, anything else as Internal.
        """
        self._admission.decode_begins()
        with self.wake:
            self._lines.put(Job(item, look))
            self.wake.notify()

    def take(self) -> Job | None:
        """Return the next job that may be done; `wake` is held."""
        return self._lines.take()

    def drain(self) -> list[Item]:
        """Remove and return what nobody has decoded; `wake` is held."""
        return [job.item for job in self._lines.drain()]

    def fail(self, item: Item, error: WireError) -> None:
        """Answer an item that is not decoded."""
        self._engine.fail(item, error)

    def work(self, task: Job) -> None:
        """Look at a payload, or decode one that waited; answer what fails."""
        step = self._look if task.work is None else self._make
        try:
            step(task, time.monotonic())
        except WireError as error:
            self.fail(task.item, error)
        except BaseException as error:  # noqa: BLE001 - a panic of Rust is not an Exception
            self.fail(task.item, _surprise(error))

    def _look(self, job: Job, began_at: float) -> None:
        """Find out what there is to do, and do it at once if it is little."""
        try:
            self._check_alive(job, began_at)
            if job.item.scoring is not None:
                job.item.scoring.prepare()
            job.work = job.look()
            with self.wake:
                goes_on = self._lines.begin(job, time.monotonic())
            if goes_on:
                self._make(job, began_at)
        except Overloaded:
            self._metrics.refused("decode")
            raise
        finally:
            # Large work waits in a line of its own, which newcomers need not count.
            small = job.work is not None and not job.large
            self._admission.decode_ended(time.monotonic() - began_at if small else 0)

    def _make(self, job: Job, began_at: float) -> None:
        try:
            self._check_alive(job, began_at)
            if job.work is None:
                raise AssertionError("nobody has looked at the payload")
            job.item.data = job.work.make()
        finally:
            with self.wake:
                self._lines.end(job)
                self.wake.notify()
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


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The long-lived parts that every request goes through."""

    admission: Admission
    decoders: PreprocessPool
    engine: Engine

    async def run(
        self,
        caller: Caller,
        modality: Modality,
        deadline_at: float,
        look: Callable[[], PreprocessWork],
        scoring: Scoring | None = None,
    ) -> ItemOutcome:
        """Return what the model makes of the one item whose work `look` finds in a thread.

        A caller that is cancelled, as it is at its deadline, leaves every queue.

        Raises:
            Overloaded, TooLate: refused at once, or the deadline passed in a queue.
            WireError: what `look`, its work or the model answered.

        """
        with self.admission.admit(modality, deadline_at, caller):
            answer: asyncio.Future[ItemOutcome] = asyncio.get_running_loop().create_future()
            item = Item(modality, deadline_at, answer, scoring, caller=caller)
            self.decoders.submit(item, look)
            return await answer
