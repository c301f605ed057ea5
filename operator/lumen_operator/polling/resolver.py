"""Looks up the addresses of a name, in a thread of its own.

The system's resolver takes as long as it takes, up to a minute where a name's own servers are slow,
and cannot be stopped: a pool of threads would be full of one tenant's names, and would keep the
process from ending.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""Returns a name's addresses, the one to try first first; raises OSError when there are none."""


async def look_up(host: str) -> tuple[str, ...]:
    """Ask the system; whoever calls bounds how many wait at once."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[str, ...] | OSError] = loop.create_future()

    def settle(answer: tuple[str, ...] | OSError) -> None:
        if not found.done():
            found.set_result(answer)

    def work() -> None:
        answer = _ask_the_system(host)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, answer)

    Thread(target=work, daemon=True, name=f"look up {host}").start()
    answer = await found
    if isinstance(answer, OSError):
        raise answer
    return answer


def _ask_the_system(host: str) -> tuple[str, ...] | OSError:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError as error:  # a label of more than 63 letters
        return OSError(f"{host} is not a name: {error}")
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
