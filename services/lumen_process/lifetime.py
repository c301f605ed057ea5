"""How a process of ours begins and ends: with its parent, and by signals."""

import asyncio
import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable

PARENT_VARIABLE = "LUMEN_PARENT_PID"

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def die_with_parent() -> None:
    """End with the process named by LUMEN_PARENT_PID; does nothing when that is not set.

    Linux sends SIGTERM when the parent's starting thread ends. A parent that ended before this
    call is noticed here. Call it first thing in `main`. Raises SystemExit when it is too late,
    or when the variable is not a process id.
    """
    said = os.environ.get(PARENT_VARIABLE, "")
    if not said:
        return
    if not said.isascii() or not said.isdigit():
        sys.exit(f"{PARENT_VARIABLE} is {said!r}; it must be a process id")
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(said):
        sys.exit("the process that started this one has ended")


def terminate_on_signal(loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; the second ends the process at once.

    Call it on the running loop. The exit code of the second is 128 plus the signal's number.
    """
    target = loop or asyncio.get_running_loop()
    stop = asyncio.Event()

    def signalled(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in _SIGNALS:
        target.add_signal_handler(number, signalled, number)
    return stop


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where it is installed: it is quicker and changes nothing else."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
    except ModuleNotFoundError:
        return None
    return factory
