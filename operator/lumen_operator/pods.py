"""What pods say of themselves: GET /status of those that a decision names, every five seconds.

Answers are untrusted: bounded in size and time, and any JSON object is passed on as it is. A pod
that does not answer is asked less and less often, and a key is only added when an answer differs.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import structlog

from lumen_operator.kinds import Key
from lumen_operator.views import PodAddress, PodReport
from lumen_wire.addresses import host_port

EVERY_S = 5.0
AT_MOST_EVERY_S = 300.0
ANSWER_S = 2.0
ANSWER_MAX_BYTES = 256 * 1024
AT_ONCE = 64

Reach = Callable[[], aiohttp.BaseConnector]
"""How pods are reached: makes, on the running loop, what opens connections to them."""

log = structlog.get_logger(__name__)


def by_their_addresses() -> aiohttp.BaseConnector:
    """Reach pods on the cluster's network."""
    return aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)


@dataclass(slots=True)
class _Asked:
    """One pod to ask, for whom, and how long until the next time."""

    key: Key
    address: PodAddress
    every_s: float


class PodReports:
    """The newest report of every pod; entries go with the decision that no longer names them."""

    def __init__(self, tell: Callable[[Key], None], reach: Reach, every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._reach = reach
        self._every_s = every_s
        self._asked: dict[str, _Asked] = {}
        self._due: list[tuple[float, int, _Asked]] = []
        self._order = itertools.count()
        self._of_key: dict[Key, frozenset[str]] = {}
        self._reports: dict[str, PodReport] = {}
        self._changed = asyncio.Event()

    @property
    def newest(self) -> Mapping[str, PodReport]:
        """The newest report of each pod, by uid."""
        return self._reports

    def ask(self, key: Key, addresses: Iterable[PodAddress], living: Iterable[str] = ()) -> None:
        """Ask these pods for a key from now on, instead of those before; `living` may stay known.

        Reports of pods that are neither asked nor living are dropped.
        """
        wanted = {address.uid: address for address in addresses}
        for uid, address in wanted.items():
            asked = self._asked.get(uid)
            if asked is None or asked.address != address:
                self._asked[uid] = _Asked(key, address, self._every_s)
                self._ask_in(0.0, self._asked[uid])
                self._changed.set()
        known = frozenset(wanted) | (frozenset(living) & self._reports.keys())
        for uid in self._of_key.get(key, frozenset()) - frozenset(wanted):
            self._asked.pop(uid, None)
            if uid not in known:
                self._reports.pop(uid, None)
        if known:
            self._of_key[key] = known
        else:
            self._of_key.pop(key, None)

    async def run(self) -> None:
        """Ask until cancelled."""
        slots = asyncio.Semaphore(AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=self._reach()) as session,
            asyncio.TaskGroup() as group,
        ):
            while True:
                self._changed.clear()
                while self._wait_s() == 0:
                    _, _, asked = heapq.heappop(self._due)
                    if self._asked.get(asked.address.uid) is asked:
                        await slots.acquire()
                        self._ask_in(asked.every_s, asked)
                        group.create_task(self._one(session, asked, slots))
                await self._until_due()

    def _ask_in(self, delay_s: float, asked: _Asked) -> None:
        at = asyncio.get_running_loop().time() + delay_s
        heapq.heappush(self._due, (at, next(self._order), asked))

    def _wait_s(self) -> float | None:
        """Return how long until a pod is to be asked; None while there is none."""
        if not self._due:
            return None
        return max(0.0, self._due[0][0] - asyncio.get_running_loop().time())

    async def _until_due(self) -> None:
        wait_s = self._wait_s()
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _one(
        self, session: aiohttp.ClientSession, asked: _Asked, slots: asyncio.Semaphore
    ) -> None:
        try:
            document = await read_status(session, asked.address)
        finally:
            slots.release()
        if self._asked.get(asked.address.uid) is not asked:
            return
        if document is None:
            asked.every_s = min(2 * asked.every_s, AT_MOST_EVERY_S)
            return
        asked.every_s = self._every_s
        address, before = asked.address, self._reports.get(asked.address.uid)
        report = PodReport(address.uid, address.container, document, datetime.now(UTC))
        self._reports[address.uid] = report
        if before is None or (before.container, before.document) != (address.container, document):
            self._tell(asked.key)


async def read_status(session: aiohttp.ClientSession, address: PodAddress) -> dict[str, Any] | None:
    """Ask one pod; None when it does not answer with a JSON object of moderate size in time."""
    try:
        async with session.get(
            f"http://{host_port(address.ip, address.port)}/status", allow_redirects=False
        ) as answer:
            body = await answer.content.read(ANSWER_MAX_BYTES + 1)
            while len(body) <= ANSWER_MAX_BYTES and not answer.content.at_eof():
                body += await answer.content.read(ANSWER_MAX_BYTES + 1 - len(body))
            if answer.status != 200 or len(body) > ANSWER_MAX_BYTES:
                return None
        document = orjson.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        log.debug("pod does not say how it is", pod=address.uid, why=str(error))
        return None
    return document if isinstance(document, dict) else None
