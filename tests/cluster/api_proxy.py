"""A proxy before the API server that counts writes and makes trouble on demand.

The operator under test reaches the API server through it, so that a test can end the operator
between any two calls, refuse calls, cut watches or let them freeze, without any help of its own.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web

_DROPPED = {"transfer-encoding", "content-length", "connection", "host"}
_START_WITHIN_S = 60.0
_BOOKMARK = b'{"type":"BOOKMARK"'


@dataclass(frozen=True, slots=True)
class Call:
    """One request that came through."""

    method: str
    path: str

    @property
    def writes(self) -> bool:
        """Whether it changes something; what elections write does not count."""
        return self.method != "GET" and "/leases" not in self.path

    @property
    def watches(self) -> bool:
        """Whether it asks to be told of changes; clients spell that differently."""
        return parse_qs(urlsplit(self.path).query).get("watch", [""])[0] in {"1", "true"}

    @property
    def object(self) -> str:
        """The last two parts of the path: what it was about."""
        return "/".join(self.path.split("?")[0].rsplit("/", 2)[1:])


@dataclass
class Trouble:
    """What the proxy does besides passing on; tests set it while it runs."""

    refuse: Callable[[Call], tuple[int, dict[str, str]] | None] = lambda _: None
    """Answer instead of the API server: status and headers, or None to pass on."""
    after_write: Callable[[Call], None] = lambda _: None
    """Called when the API server has done a write, before anybody hears of it."""
    forget: bool = False
    """Watches that go on from a known state are told that it is too old."""


class ApiProxy:
    """The running proxy; `url` is plain HTTP on loopback, tokens pass through."""

    def __init__(self, upstream: str, ca: Path) -> None:
        self.trouble = Trouble()
        self.url = ""
        self.forgotten = 0
        self.forbidden: list[Call] = []
        self._upstream = upstream
        self._ca = ca
        self._calls: list[Call] = []
        self._watches: set[asyncio.BaseTransport] = set()
        self._frozen: set[asyncio.BaseTransport] = set()
        self._deaf: set[asyncio.BaseTransport] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()

    @property
    def calls(self) -> list[Call]:
        """Every call so far."""
        return list(self._calls)

    @property
    def writes(self) -> list[Call]:
        """Every write so far that the API server was asked for."""
        return [call for call in self._calls if call.writes]

    def watches_begun(self) -> int:
        """Return how many watches there have been."""
        return sum(call.watches for call in self._calls)

    def cut_watches(self) -> None:
        """Break the connections of all open watches."""

        def cut() -> None:
            for transport in tuple(self._watches):
                transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def freeze_watches(self) -> None:
        """Let all open watches stay open and say nothing more; later ones speak."""
        self._loop.call_soon_threadsafe(lambda: self._frozen.update(self._watches))

    def deafen_watches(self) -> None:
        """Let all open watches tell how far they are, and nothing that happens; later ones do."""
        self._loop.call_soon_threadsafe(lambda: self._deaf.update(self._watches))

    def run(self) -> None:
        """Serve until `stop`; the body of the proxy's thread."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def wait_until_started(self) -> None:
        """Return once it listens."""
        assert self._started.wait(_START_WITHIN_S), "the proxy has not started"

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self) -> None:
        context = ssl.create_default_context(cafile=str(self._ca))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as session:
            self._session = session
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{any:.*}", self._pass_on)
            runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.raw_path)
        body = await request.read()
        if refused := self.trouble.refuse(call):
            status, headers = refused
            return web.json_response(
                {"message": "refused by the test"}, status=status, headers=headers
            )
        self._calls.append(call)
        if self.trouble.forget and call.watches and "resourceVersion=" in call.path:
            self.forgotten += 1
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
            return web.json_response(gone)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
        try:
            async with self._session.request(
                request.method,
                f"{self._upstream}{request.raw_path}",
                data=body or None,
                headers=headers,
            ) as answer:
                if call.watches:
                    return await self._watch(request, answer)
                content = await answer.read()
                if answer.status in {401, 403}:
                    self.forbidden.append(call)
                if call.writes and answer.status < 300:
                    self.trouble.after_write(call)
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in _DROPPED}
                return web.Response(status=answer.status, body=content, headers=kept)
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)

    async def _watch(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in _DROPPED}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        self._watches.add(transport)
        rest = b""
        try:
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                told = self._told(transport, lines)
                if told:
                    await response.write(b"\n".join((*told, b"")))
        except (ConnectionError, aiohttp.ClientError):
            transport.abort()
        finally:
            for those in (self._watches, self._frozen, self._deaf):
                those.discard(transport)
        return response

    def _told(self, transport: asyncio.BaseTransport, lines: list[bytes]) -> list[bytes]:
        """Return what a watch is told of what the API server says."""
        if transport in self._frozen:
            return []
        deaf = transport in self._deaf
        return [line for line in lines if not deaf or line.startswith(_BOOKMARK)]


@contextmanager
def api_proxy(upstream: str, ca: Path) -> Iterator[ApiProxy]:
    """Run a proxy in a thread of its own."""
    proxy = ApiProxy(upstream, ca)
    thread = threading.Thread(target=proxy.run, name="api-proxy", daemon=True)
    thread.start()
    proxy.wait_until_started()
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join(_START_WITHIN_S)
