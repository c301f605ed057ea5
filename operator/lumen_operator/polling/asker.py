"""Asks one server for its status page, at an address that may be asked.

Pages are untrusted: bounded in size, headers and time, not decompressed, not followed elsewhere. A
server outside the cluster is named by a tenant: its name is resolved here, every address is judged,
and the connection goes to one that was judged.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

import aiohttp
import orjson
import structlog

from lumen_manifest.pod_reports import kept_page
from lumen_operator.observe.networks import Address, ExternalNetworks, literal
from lumen_operator.observe.views import PodAddress
from lumen_process.addresses import host_port

ANSWER_S = 2.0
ANSWER_MAX_BYTES = 64 * 1024
HEADERS_MAX = 64
ADDRESSES_MAX = 8
"""More of one name are not kept; they are judged all the same."""

log = structlog.get_logger(__name__)
Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""Returns a name's addresses, the one to try first first; raises OSError when there are none."""


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What came of asking: a page or none, and the addresses that the server has, sorted.

    With `refused`, one of them may not be called, and nobody was asked; it is the only one listed.
    """

    page: Mapping[str, Any] | None
    addresses: tuple[str, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class PageClient:
    """What asking needs: how to connect, which networks may be called, and who knows names."""

    session: aiohttp.ClientSession
    networks: ExternalNetworks
    resolve: Resolve

    async def ask(self, server: PodAddress) -> PageAnswer:
        """Ask one pod or server; never raises."""
        if not server.external:
            return PageAnswer(await read_status(self.session, server))
        found = await self._addresses(server.ip)
        bad = next((each for each in found if not self.networks.allow(each)), None)
        if bad is not None:
            return PageAnswer(None, (str(bad),), refused=True)
        kept = sorted(found, key=lambda each: (each.version, int(each)))[:ADDRESSES_MAX]
        page = await self._first_page(server, found[:ADDRESSES_MAX])
        return PageAnswer(page, tuple(map(str, kept)))

    async def _addresses(self, host: str) -> tuple[Address, ...]:
        """Return the addresses of a host, in the order in which they are to be tried."""
        given = literal(host)
        if given is not None:
            return (given,)
        try:
            texts = await self.resolve(host)
        except OSError as error:
            log.debug("a server's name is not known", host=host, why=str(error))
            return ()
        return tuple(filter(None, (literal(each.partition("%")[0]) for each in texts)))

    async def _first_page(
        self, server: PodAddress, addresses: tuple[Address, ...]
    ) -> Mapping[str, Any] | None:
        """Ask one address after the other; together they have the time of one answer."""
        for address in addresses:
            share_s = ANSWER_S / len(addresses)
            page = await read_status(self.session, server, at=str(address), within_s=share_s)
            if page is not None:
                return page
        return None


def session_over(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """Make the session that pages are asked in: it keeps nothing of one for another."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        max_headers=HEADERS_MAX,
    )


async def read_status(
    session: aiohttp.ClientSession, address: PodAddress, *, at: str = "", within_s: float = ANSWER_S
) -> Mapping[str, Any] | None:
    """Read what is kept of one page; None unless a JSON object of moderate size comes in time.

    `at` is the address to connect to where `address` has a name, which the server is told.
    """
    url = f"http://{host_port(at or address.ip, address.port)}/status"
    name = {"Host": host_port(address.ip, address.port)}
    try:
        async with (
            asyncio.timeout(within_s),
            session.get(url, allow_redirects=False, headers=name) as answer,
        ):
            body = await _body(answer.content) if answer.status == 200 else b""
        document = orjson.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        log.debug("pod does not say how it is", pod=address.uid, why=str(error))
        return None
    return kept_page(document) if isinstance(document, dict) else None


async def _body(content: aiohttp.StreamReader) -> bytes:
    """Read a body; raises ValueError for one that is too large."""
    body = bytearray()
    while not content.at_eof():
        body += await content.read(ANSWER_MAX_BYTES + 1 - len(body))
        if len(body) > ANSWER_MAX_BYTES:
            raise ValueError(f"more than {ANSWER_MAX_BYTES} bytes")
    return bytes(body)


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
