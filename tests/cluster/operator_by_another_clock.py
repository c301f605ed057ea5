"""Start the operator by a wall clock of a test's: `operator_by_another_clock.py FILE SOCKET`.

FILE says by how many seconds the clock is ahead, and may be replaced at any moment: the clock is
set anew, as by NTP. The monotonic clock goes on, as a machine's does. SOCKET is where simulated
pods are asked: see operator_beside_pods.py.
"""

import datetime as dt
import sys
import time
from functools import partial
from pathlib import Path

import aiohttp

_file = Path(sys.argv[1])
_true_datetime = dt.datetime
_true_time = time.time


def _shifted_time() -> float:
    return _true_time() + float(_file.read_text())


class _AnyMoment(type):
    """Moments that were made before, or by C code, are still moments."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _true_datetime)


class _ShiftedDatetime(_true_datetime, metaclass=_AnyMoment):
    """A datetime whose `now` is the shifted one."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
        return _true_datetime.fromtimestamp(_shifted_time(), tz)

    @classmethod
    def utcnow(cls) -> dt.datetime:
        return cls.now(dt.UTC).replace(tzinfo=None)


time.time = _shifted_time
dt.datetime = _ShiftedDatetime  # type: ignore[misc]  # before anybody takes it by its name

if __name__ == "__main__":
    from lumen_operator.main import main

    main(partial(aiohttp.UnixConnector, path=sys.argv[2], force_close=True))
