"""An asynchronous stream as an ordinary iterator, the caller's code in the caller's thread.

What the caller's generator does stays where the caller runs: it may use what belongs to a thread,
call the same client, be stopped by Ctrl-C. The loop asks for an item, this thread gives it.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
)
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from lumen_client.errors import UsageError
from lumen_client.loop_thread import CLOSED_MEANWHILE, LoopThread
from lumen_client.sequence import Contents

T = TypeVar("T")

_END = object()


class _Wanted:
    """The loop's wish for the next item."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.item: asyncio.Future[Any] = self.loop.create_future()

    def give(self, item: Any, error: Exception | None) -> None:
        def settle() -> None:
            if self.item.done():
                return
            if error is None:
                self.item.set_result(item)
            else:
                self.item.set_exception(error)

        with suppress(RuntimeError):  # a loop that was closed meanwhile has told its end already
            self.loop.call_soon_threadsafe(settle)


def pumped(
    loop: LoopThread,
    contents: Contents,
    answers: Callable[[AsyncIterable[Any]], AsyncGenerator[T, None]],
) -> Generator[T, None, None]:
    """Yield what `answers` makes of `contents`, on the loop; iterate `contents` here.

    An asynchronous iterable is left to the loop.
    """
    events: SimpleQueue[Any] = SimpleQueue()

    async def items() -> AsyncIterator[Any]:
        while True:
            wanted = _Wanted()
            events.put(wanted)
            item = await wanted.item
            if item is _END:
                return
            yield item

    async def run() -> None:
        given = contents if isinstance(contents, AsyncIterable) else items()
        async for answer in answers(given):
            events.put((answer,))

    source = iter(() if isinstance(contents, AsyncIterable) else contents)
    running = loop.submit(run())
    running.add_done_callback(events.put)
    try:
        while True:
            event = events.get()
            if isinstance(event, _Wanted):
                _give_next(event, source)
            elif isinstance(event, Future):
                _raise_end(event)
                return
            else:
                yield event[0]
    finally:
        running.cancel()


def _give_next(wanted: _Wanted, source: Iterator[Any]) -> None:
    try:
        item, error = next(source, _END), None
    except Exception as raised:  # noqa: BLE001 - the caller's own: it comes back after the answers
        item, error = None, raised
    wanted.give(item, error)


def _raise_end(ended: "Future[None]") -> None:
    try:
        ended.result()
    except CancelledError as error:
        raise UsageError(CLOSED_MEANWHILE) from error
