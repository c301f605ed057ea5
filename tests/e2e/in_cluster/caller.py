"""Call the router at a steady rate, whatever happens: `caller.py SERVER CALLS_PER_SECOND`.

Runs in a pod of its own. An open loop: a call is sent when its time has come, not when an earlier
one was answered. Nothing is tried again. Every second a line of JSON says how it stands.
"""

import asyncio
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass, field

from pictures import FALLBACK, ask, cases

from lumen_client import AsyncClient, ClientError

TIMEOUT_S = 60.0
SAY_EVERY_S = 1.0


@dataclass(slots=True)
class Tally:
    """How many calls were sent; what those that failed were told since the last line.

    The first `settled` calls all have their answer, whatever it was.
    `fallbacks` were answered by the scene alone.
    """

    sent: int = 0
    settled: int = 0
    failed: int = 0
    fallbacks: int = 0
    slowest_ms: int = 0
    failures: list[str] = field(default_factory=list)


async def main() -> None:
    """Send calls until the pod is stopped."""
    server, rate = sys.argv[1], float(sys.argv[2])
    tally, running = Tally(), {}
    async with AsyncClient(server, retries=0, timeout_s=TIMEOUT_S) as client:
        started = said = time.monotonic()
        for number, (picture, expected) in enumerate(itertools.cycle(cases().items())):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            running[number] = asyncio.create_task(call(client, picture, expected, tally))
            running[number].add_done_callback(lambda _, number=number: running.pop(number))
            tally.sent = number + 1
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                tally.settled = min(running)
                say(tally)


async def call(client: AsyncClient, picture: str, expected: dict[str, str], tally: Tally) -> None:
    """Classify one picture; another answer than the expected one is a failure too."""
    begun = time.monotonic()
    try:
        problem = await ask(client, picture, expected)
    except ClientError as error:
        problem = str(error)
    took_ms = round((time.monotonic() - begun) * 1000)
    tally.slowest_ms = max(tally.slowest_ms, took_ms)
    if problem == FALLBACK:
        tally.fallbacks += 1
    elif problem:
        tally.failed += 1
        tally.failures.append(f"{time.strftime('%T')} after {took_ms} ms: {problem}")


def say(tally: Tally) -> None:
    """Print how it stands, and begin a new list of failures."""
    print(json.dumps(asdict(tally)), flush=True)
    tally.failures.clear()
    tally.slowest_ms = 0


if __name__ == "__main__":
    asyncio.run(main())
