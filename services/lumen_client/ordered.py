"""Many items, a few at a time: each answered or failed by itself, told in the order they came.

Pure of any protocol: whoever asks for one item is handed in.
"""

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from lumen_client.errors import ClientError
from lumen_client.failures import FOR_ALL

T = TypeVar("T")

Ask = Callable[[Any], Coroutine[Any, Any, T]]

_END = object()


@dataclass(frozen=True, slots=True)
class ItemAnswer(Generic[T]):
    """What became of one item: an answer, or the error that it cost."""

    index: int
    item: Any
    answer: T | None = None
    error: ClientError | None = None


async def in_order(
    source: AsyncGenerator[Any, None], ask: Ask[T], ahead: int
) -> AsyncGenerator[ItemAnswer[T], None]:
    """Yield an answer for each item, in the order of the items; at most `ahead` are held.

    An item that fails costs itself. What `source` raises comes after the answers of all that it
    gave before, and so does an error that all later items would meet too.
    """
    if ahead < 1:
        raise ValueError(f"prefetch must be 1 or more, not {ahead}")
    waiting: deque[tuple[int, Any, asyncio.Task[T]]] = deque()
    pulls: list[asyncio.Task[Any]] = []  # one at most
    count, exhausted, broken = 0, False, None
    try:
        while True:
            if not (pulls or exhausted) and len(waiting) < ahead:
                pulls = [asyncio.create_task(_next(source))]
            awaited = {*pulls, *(task for *_, task in islice(waiting, 1))}
            if not awaited:
                break
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if pulls and pulls[0].done():
                item, broken = pulls.pop().result()
                exhausted = item is _END
                if not exhausted:
                    waiting.append((count, item, asyncio.create_task(ask(item))))
                    count += 1
            while waiting and waiting[0][2].done():
                yield _told(*waiting.popleft())
        if broken is not None:
            raise broken
    finally:
        tasks = [*pulls, *(task for *_, task in waiting)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await source.aclose()


def _told(index: int, item: Any, task: asyncio.Task[T]) -> ItemAnswer[T]:
    """Return what became of an item; raises what any other would meet too."""
    error = task.exception()
    if isinstance(error, ClientError) and not isinstance(error, FOR_ALL):
        _forget_locals(error)
        return ItemAnswer(index, item, error=error)
    return ItemAnswer(index, item, answer=task.result())


def _forget_locals(error: BaseException | None) -> None:
    """Let go of what an error's frames hold: whoever keeps errors would keep pictures."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__


async def _next(source: AsyncGenerator[Any, None]) -> tuple[Any, Exception | None]:
    """Return the next item; the end and what the caller's own code raises are told as values."""
    try:
        return await anext(source), None
    except StopAsyncIteration:
        return _END, None
    except Exception as error:  # noqa: BLE001 - the caller's own code: handed back to the caller
        return _END, error
