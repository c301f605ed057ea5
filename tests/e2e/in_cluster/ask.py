"""Classify each picture of the demo once: `ask.py SERVER`. Ends with 1 when an answer is wrong."""

import asyncio
import sys

from pictures import ask, cases

from lumen_client import AsyncClient


async def main() -> None:
    """Ask for all pictures, one after the other."""
    wrong = []
    async with AsyncClient(sys.argv[1]) as client:
        for picture, expected in cases().items():
            problem = await ask(client, picture, expected)
            print(problem or f"{picture}: {expected['label']}", flush=True)
            wrong += [problem] if problem else []
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    asyncio.run(main())
