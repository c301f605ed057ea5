"""The threads that make model input of payloads, before anything waits for the model.

As many as there are cores: the decoders of pictures release the interpreter's lock, and the model
shares the same cores with them. How much may wait here is bounded by admission.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from lumen_serving.engine import Engine, Item
from lumen_serving.errors import BackendFailed, TooLate
from lumen_serving.metrics import Metrics
from lumen_wire.errors import WireError


class Decoders:
    """A pool of `workers` threads in front of the engine; an async context manager.

    `on_done(seconds)` hears of every item, on a thread of the pool; 0 means that it was dropped.
    """

    def __init__(
        self, workers: int, engine: Engine, metrics: Metrics, on_done: Callable[[float], None]
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._engine = engine
        self._metrics = metrics
        self._on_done = on_done

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def submit(self, item: Item, make: Callable[[], NDArray[Any]]) -> None:
        """Run `make` in a thread and hand the item on to the engine.

        What `make` raises answers the item: a `WireError` as it is, anything else as Internal.
        """
        self._pool.submit(self._prepare, item, make)

    def _prepare(self, item: Item, make: Callable[[], NDArray[Any]]) -> None:
        began_at = time.monotonic()
        if item.abandoned or item.deadline_at <= began_at:
            self._metrics.dropped_dead(1)
            self._refuse(item, TooLate("The deadline passed before the payload was decoded."), 0)
            return
        try:
            item.data = make()
        except WireError as error:
            self._refuse(item, error, time.monotonic() - began_at)
            return
        except Exception as error:  # noqa: BLE001 - a surprise must answer its caller too
            failure = BackendFailed("The payload could not be prepared for the model.")
            failure.__cause__ = error
            self._refuse(item, failure, time.monotonic() - began_at)
            return
        seconds = time.monotonic() - began_at
        item.decode_ms = seconds * 1000
        self._metrics.decoded(item.modality, seconds)
        self._on_done(seconds)
        self._engine.submit(item)

    def _refuse(self, item: Item, error: WireError, seconds: float) -> None:
        self._on_done(seconds)
        self._engine.fail(item, error)
