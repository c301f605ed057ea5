"""A proxy that notes who is asked for and lets nobody through."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class LonelyProxy:
    """Where it listens, and the first two words of all that it was asked."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def a_proxy() -> AsyncIterator[LonelyProxy]:
    proxy = LonelyProxy()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            proxy.asked.append(" ".join(head.split()[:2]))
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1")
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
