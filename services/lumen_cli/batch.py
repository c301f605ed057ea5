"""Many items through a server, a few at a time: answers in order, failures told at the end.

Ctrl-C, a server that goes away, a full disk: what is done by then is kept and said.
"""

import asyncio
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from lumen_cli.speech import end, say

Item = TypeVar("Item")
Answer = TypeVar("Answer")

IN_FLIGHT = 8
AHEAD = 4 * IN_FLIGHT
"""Items that are begun and not yet printed: those behind a slow one go on meanwhile."""
NAMED_AT_MOST = 20


async def answer_in_order(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Answer]],
    done: Callable[[Answer], None],
) -> None:
    """Give `done` each item's answer, in the order of the items.

    Ends with what `work` or `done` raises. Whatever ends it, answers that are there by then are
    given first.
    """
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def gated(item: Item) -> Answer:
        async with gate:
            return await work(item)

    waiting: deque[asyncio.Task[Answer]] = deque()
    try:
        for item in items:
            waiting.append(asyncio.create_task(gated(item)))
            if len(waiting) >= AHEAD:
                await _give_first(waiting, done)
        while waiting:
            await _give_first(waiting, done)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in waiting:
            if not task.cancelled() and task.exception() is None:
                done(task.result())


async def _give_first(
    waiting: "deque[asyncio.Task[Answer]]", done: Callable[[Answer], None]
) -> None:
    await asyncio.wait((waiting[0],))
    done(waiting.popleft().result())


@dataclass(slots=True)
class Tally:
    """How many items were answered and which failed, the first of them by name."""

    what: str
    answered: int = 0
    failed: int = 0
    named: list[str] = field(default_factory=list)

    def count(self, item: str, error: str) -> None:
        """Count one item; `error` is empty when it was answered."""
        if not error:
            self.answered += 1
            return
        self.failed += 1
        if len(self.named) < NAMED_AT_MOST:
            self.named.append(f"  {item}: {error}")

    def say_failures(self) -> None:
        """Name what failed, on stderr."""
        if not self.failed:
            return
        say(f"{self.failed} of {self.answered + self.failed} {self.what} failed:", *self.named)
        if self.failed > len(self.named):
            say(f"  and {self.failed - len(self.named)} more; --output csv names them all.")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Name what failed when the work ends, however it does; Ctrl-C ends it as shells expect."""
        try:
            yield
        except KeyboardInterrupt:
            self.say_failures()
            said = f"Stopped. {self.answered} {self.what} are done."
            say(said)
            end(said, 128 + signal.SIGINT)
        except SystemExit:
            self.say_failures()
            if self.answered:
                say(f"{self.answered} {self.what} were done before.")
            raise
        self.say_failures()
