"""An event loop whose clock jumps to the next timer: hours of waiting pass in milliseconds."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: when no callback is due, its time is that of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            found = select(0)
            assert found or timeout is not None, "everything waits for something that never comes"
            if not found and timeout:
                self._now += timeout
            return found

        self._selector.select = jump

    def time(self) -> float:
        return self._now


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def story(told: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., None]:
    """Make a test of a coroutine function that runs in virtual time."""

    @wraps(told)
    def test(*args: Any, **kwargs: Any) -> None:
        run(told(*args, **kwargs))

    return test


def clock() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()
