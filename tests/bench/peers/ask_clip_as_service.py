"""Ask a clip-as-service for one JPEG again and again; runs in that server's own environment.

    python ask_clip_as_service.py grpc://127.0.0.1:51000 picture.jpg IN_FLIGHT BATCH SECONDS

By its own client, the way its users ask: `aencode` of BATCH pictures a call. Prints one JSON line:
pictures answered, and in how many seconds.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from clip_client import Client
from docarray import Document, DocumentArray


async def measure(
    address: str, picture: bytes, in_flight: int, batch: int, seconds: float
) -> dict[str, float]:
    """Keep `in_flight` calls under way until the time is over; what began then is not counted."""
    client = Client(address)
    answered = 0
    await call(client, picture, batch)
    began_s = time.perf_counter()
    ends_s = began_s + seconds

    async def keep_asking() -> None:
        nonlocal answered
        while time.perf_counter() < ends_s:
            await call(client, picture, batch)
            if time.perf_counter() < ends_s:
                answered += batch

    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    return {"answered": answered, "seconds": seconds}


async def call(client: Client, picture: bytes, batch: int) -> None:
    """One call; a picture without a vector is an error."""
    asked = DocumentArray([Document(blob=picture) for _ in range(batch)])
    vectors = (await client.aencode(asked, batch_size=batch)).embeddings
    if vectors is None or len(vectors) != batch:
        raise SystemExit("clip-as-service answered without vectors")


if __name__ == "__main__":
    address, path, in_flight, batch, seconds = sys.argv[1:]
    picture = Path(path).read_bytes()
    result = asyncio.run(measure(address, picture, int(in_flight), int(batch), float(seconds)))
    print(json.dumps(result), flush=True)
