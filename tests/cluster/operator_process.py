"""Start the operator in a test: `operator_process.py [--clock FILE] [--impatient] SOCKET`.

Nobody answers at a simulated pod's address, and no packet may leave this machine for it: whatever
the operator asks a pod goes to the Unix socket SOCKET, where a test answers, or nobody listens.

--clock: FILE says by how many seconds the wall clock is ahead, and may be replaced at any moment:
the clock is set anew, as by NTP. The monotonic clock goes on, as a machine's does.
--impatient: the audit judges soon. How long a difference lasts until liveness fails is no setting:
it is beyond the time after which a watch that fell silent is begun anew. Where the watches are not
silent, minutes need not pass.
"""

import argparse
import datetime as dt
import time
from functools import partial
from pathlib import Path

import aiohttp

_true_datetime = dt.datetime
_true_time = time.time


def _shift_the_clock(file: Path) -> None:
    """Replace `time.time` and `datetime`, before anybody takes these by their names."""

    def shifted_time() -> float:
        return _true_time() + float(file.read_text())

    class AnyMoment(type):
        """Moments that were made before, or by C code, are still moments."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, _true_datetime)

    class ShiftedDatetime(_true_datetime, metaclass=AnyMoment):
        """A datetime whose `now` is the shifted one."""

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return _true_datetime.fromtimestamp(shifted_time(), tz)

        @classmethod
        def utcnow(cls) -> dt.datetime:
            return cls.now(dt.UTC).replace(tzinfo=None)

    time.time = shifted_time
    dt.datetime = ShiftedDatetime  # type: ignore[misc]


def _given() -> argparse.Namespace:
    options = argparse.ArgumentParser()
    options.add_argument("--clock", type=Path)
    options.add_argument("--impatient", action="store_true")
    options.add_argument("socket")
    return options.parse_args()


if __name__ == "__main__":
    given = _given()
    if given.clock:
        _shift_the_clock(given.clock)

    from lumen_operator.main import main
    from lumen_operator.observe import audit

    if given.impatient:
        audit.LASTING_S = 10.0
        audit.LOOK_AGAIN_S = 2.0
    main(partial(aiohttp.UnixConnector, path=given.socket, force_close=True))
