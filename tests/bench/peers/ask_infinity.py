"""Ask an Infinity server for one JPEG again and again, over its HTTP API.

    python ask_infinity.py http://127.0.0.1:7997 MODEL picture.jpg IN_FLIGHT BATCH SECONDS

Pictures go as data URIs, its way of taking bytes; vectors come back as base64, the cheapest it has.
Prints one JSON line: pictures answered, and in how many seconds.
"""

import asyncio
import base64
import json
import sys
import time
from pathlib import Path

import httpx


async def measure(
    url: str, body: bytes, in_flight: int, batch: int, seconds: float
) -> dict[str, float]:
    """Keep `in_flight` calls under way until the time is over; what began then is not counted."""
    answered = 0
    limits = httpx.Limits(max_connections=in_flight)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await call(client, body, batch)
        ends_s = time.perf_counter() + seconds

        async def keep_asking() -> None:
            nonlocal answered
            while time.perf_counter() < ends_s:
                await call(client, body, batch)
                if time.perf_counter() < ends_s:
                    answered += batch

        await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    return {"answered": answered, "seconds": seconds}


async def call(client: httpx.AsyncClient, body: bytes, batch: int) -> None:
    """One call; a picture without a vector is an error."""
    headers = {"content-type": "application/json"}
    answer = await client.post("/embeddings", content=body, headers=headers)
    answer.raise_for_status()
    if len(answer.json()["data"]) != batch:
        raise SystemExit("Infinity answered without vectors")


if __name__ == "__main__":
    url, model, path, in_flight, batch, seconds = sys.argv[1:]
    picture = base64.b64encode(Path(path).read_bytes()).decode()
    body = {
        "model": model,
        "input": [f"data:image/jpeg;base64,{picture}"] * int(batch),
        "modality": "image",
        "encoding_format": "base64",
    }
    result = asyncio.run(
        measure(url, json.dumps(body).encode(), int(in_flight), int(batch), float(seconds))
    )
    print(json.dumps(result), flush=True)
