"""Ending idle streams when a process stops: clients that keep one open must not hold it up."""

from collections.abc import Callable


class Drain:
    """A switch that tells every open stream, once, to end as soon as it is idle."""

    def __init__(self) -> None:
        self._listeners: set[Callable[[], None]] = set()
        self._begun = False

    @property
    def begun(self) -> bool:
        """Say whether the process is stopping."""
        return self._begun

    def begin(self) -> None:
        """Tell all streams, also those that are opened later."""
        self._begun = True
        for listener in tuple(self._listeners):
            listener()

    def add(self, listener: Callable[[], None]) -> None:
        """Call `listener` at `begin`."""
        self._listeners.add(listener)

    def discard(self, listener: Callable[[], None]) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)
