"""Runs one piece of work for several things at once, within a bound; the first failure ends it.

The threads are daemons: a signal that stops the process must not wait for a server that is silent.
"""

import queue
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Generic, TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

# How long an interrupted caller waits for the threads to put down what they hold.
INTERRUPTED_S = 1.0


def abreast(
    work: Callable[[Thing, Event], Result], things: Sequence[Thing], at_once: int
) -> list[Result]:
    """Return `work(thing, stop)` for every thing, in their order, at most `at_once` at a time.

    When one fails, `stop` is set: nothing more begins, what runs should end soon, and the first
    error is raised when all of it has. An interrupt is raised within a second.
    """
    if len(things) <= 1:
        return [work(thing, Event()) for thing in things]
    pool = _Pool(work, things)
    threads = [Thread(target=pool.run, daemon=True) for _ in range(min(at_once, len(things)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            # Waited for in short turns: a signal is seen between them, whatever the thread does.
            while thread.is_alive():
                thread.join(0.1)
    except BaseException:
        pool.stop.set()
        for thread in threads:
            thread.join(INTERRUPTED_S / len(threads))
        raise
    return pool.results()


class _Pool(Generic[Thing, Result]):
    """What is to be done, what came of it, and whether it goes on."""

    def __init__(self, work: Callable[[Thing, Event], Result], things: Sequence[Thing]) -> None:
        self.stop = Event()
        self._work = work
        self._left: queue.SimpleQueue[tuple[int, Thing]] = queue.SimpleQueue()
        for numbered in enumerate(things):
            self._left.put(numbered)
        self._done: dict[int, Result] = {}
        self._errors: list[BaseException] = []

    def run(self) -> None:
        """Work until nothing is left or something failed."""
        while not self.stop.is_set():
            try:
                number, thing = self._left.get_nowait()
            except queue.Empty:
                return
            try:
                self._done[number] = self._work(thing, self.stop)
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                self._errors.append(error)
                self.stop.set()

    def results(self) -> list[Result]:
        """Return what came of it all, or raise the first error."""
        if self._errors:
            raise self._errors[0]
        return [self._done[number] for number in sorted(self._done)]
