"""An idle client pings each 10 s for two minutes: the server must not send GOAWAY.

    python tests/bench/idle_pings.py [SECONDS]

Prints one line per ping; exits 1 when the server ends the connection.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))

from http2_raw import GoneAway, RawConnection
from wire_servers import Script, a_script_server

INTERVAL_S = 10.0


async def main(seconds: float) -> int:
    """Serve with the options every deployable uses, ping at the interval, and say how it went."""
    async with a_script_server(Script()) as (_, _, port):
        connection = await RawConnection.open(port)
        answered, began = 0, time.monotonic()
        try:
            while time.monotonic() - began < seconds:
                await connection.stay_idle(INTERVAL_S)
                await connection.ping()
                answered += 1
                print(f"{time.monotonic() - began:6.1f} s  ping {answered} answered", flush=True)
        except GoneAway as gone:
            print(f"GOAWAY: {gone}")
            return 1
        finally:
            await connection.close()
    print(f"{answered} pings in {seconds:.0f} s, no GOAWAY")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0)))
