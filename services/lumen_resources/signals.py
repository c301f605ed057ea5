"""How work that may take an hour is stopped: cleanly by the first signal, at once by the second."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from lumen_resources.errors import StoppedError


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
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        raise _Signalled(number)

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _Signalled as signalled:
        raise StoppedError.by(signalled.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
