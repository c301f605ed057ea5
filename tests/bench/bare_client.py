"""The least that a client of the API server does: server-side apply and watch, nothing decided."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

Raw = dict[str, Any]

APPLY = "application/apply-patch+yaml"
FIELD_MANAGER = "bench"
NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True, slots=True)
class Document:
    """One object to apply, as it would lie in a file: its path and its body."""

    path: str
    body: bytes


@dataclass(slots=True)
class Applied:
    """What became of a batch: when each name was begun, and how long each apply took, seconds."""

    began: dict[str, float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    over: int = 0


class BareClient:
    """One session with a ServiceAccount's token, so that its calls are checked as anybody's."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def apply(self, batch: dict[str, Sequence[Document]], clients: int, to: Applied) -> None:
        """Apply the documents of each name in their order, that many names at a time."""
        names = iter(batch)

        async def work() -> None:
            for name in names:
                to.began[name] = time.monotonic()
                for document in batch[name]:
                    to.took.append(await self._apply(document))
                to.over += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(work())

    async def _apply(self, document: Document) -> float:
        start = time.monotonic()
        async with self._session.patch(
            f"{self._url}{document.path}?fieldManager={FIELD_MANAGER}&force=true",
            data=document.body,
            headers={"Content-Type": APPLY},
        ) as answer:
            text = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{document.path}: {answer.status} {text.decode()[:500]}")
        return time.monotonic() - start

    async def follow(self, path: str, heard: Callable[[Raw], None]) -> None:
        """Tell of every object of a collection and of every change to one, until cancelled."""
        while True:
            async with self._session.get(f"{self._url}{path}") as answer:
                answer.raise_for_status()
                listed = orjson.loads(await answer.read())
            for item in listed["items"]:
                heard(item)
            version = listed["metadata"]["resourceVersion"]
            query = f"watch=true&resourceVersion={version}&timeoutSeconds=3600"
            async with self._session.get(
                f"{self._url}{path}?{query}", timeout=NO_TIMEOUT
            ) as answer:
                answer.raise_for_status()
                async for line in _lines(answer.content):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        break
                    heard(event["object"])

    @contextlib.asynccontextmanager
    async def following(self, path: str, heard: Callable[[Raw], None]) -> AsyncIterator[None]:
        """Follow a collection while the block runs; what ends the watch ends the block."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.follow(path, heard))
            yield
            task.cancel()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


@asynccontextmanager
async def bare_client(kubeconfig: Path, ca: Path) -> AsyncIterator[BareClient]:
    """Open a client with the token and the server of a kubeconfig."""
    document = await asyncio.to_thread(lambda: json.loads(kubeconfig.read_text()))
    url = document["clusters"][0]["cluster"]["server"]
    token = document["users"][0]["user"]["token"]
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(ca)), limit=0)
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield BareClient(session, url)
