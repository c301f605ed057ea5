"""How work that may take an hour is stopped: cleanly by the first signal, at once by the second."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Self

from lumen_resources.errors import StoppedError

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class _Signalled(BaseException):
    """What the handler raises: no `except Exception` on the way, such as logging's, swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


@contextlib.contextmanager
def stops_on_signals() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into a StoppedError; the second ends at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for each in _STOPPING:
            signal.signal(each, signal.SIG_DFL)
        raise _Signalled(number)

    before = {n: signal.signal(n, stop) for n in _STOPPING}
    try:
        yield
    except _Signalled as signalled:
        raise StoppedError.by(signalled.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Notes the first SIGTERM or SIGINT, for `check` to act on; the second ends at once.

    Noted and not raised: an exception that a signal raises inside a log call is swallowed there.
    """

    def __init__(self) -> None:
        self._number: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._before = {n: signal.signal(n, self._note) for n in _STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._number is not None

    def check(self) -> None:
        """Raise StoppedError once a signal came."""
        if self._number is not None:
            raise StoppedError.by(self._number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._number = signal.Signals(number)
        for each in _STOPPING:
            signal.signal(each, signal.SIG_DFL)
