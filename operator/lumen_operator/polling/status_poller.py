"""What pods say of themselves: GET /status of those that a decision names, every five seconds.

Answers are untrusted: `asker` bounds each, `FairSchedule` how many are out for one namespace,
`ReportReader` how often a service's changes are told. A pod that does not answer is asked less and
less often, and a key is only added when an answer differs. A server outside the cluster is said to
be silent only when it was asked in vain: to wait for its turn is no fault of its own.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import aiohttp

from lumen_operator.observe.kinds import Key
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.observe.views import PodAddress, PodReport
from lumen_operator.polling.asker import PageClient, Resolve, look_up, session_over
from lumen_operator.polling.hearing import PolledPage, ReportReader
from lumen_operator.polling.turns import FairSchedule

EVERY_S = 5.0
AT_ONCE = 64
OF_ONE_NAMESPACE = 8

Reach = Callable[[], aiohttp.BaseConnector]
"""How pods are reached: makes, on the running loop, what opens connections to them."""


def by_their_addresses() -> aiohttp.BaseConnector:
    """Reach pods on the cluster's network."""
    return aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)


class PodReports:
    """The newest report of every pod; entries go with the decision that no longer names them."""

    def __init__(
        self,
        tell: Callable[[Key], None],
        reach: Reach,
        every_s: float = EVERY_S,
        networks: ExternalNetworks | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        self._tell = tell
        self._reach = reach
        self._every_s = every_s
        self._networks = networks or ExternalNetworks()
        self._resolve = resolve
        self._asked: dict[str, PolledPage] = {}
        self._turns: FairSchedule[PolledPage] = FairSchedule(AT_ONCE, OF_ONE_NAMESPACE)
        self._of_key: dict[Key, frozenset[str]] = {}
        self._hearing = ReportReader(every_s)
        self._changed = asyncio.Event()

    @property
    def newest(self) -> Mapping[str, PodReport]:
        """The newest report of each pod, by uid."""
        return self._hearing.reports

    def ask(self, key: Key, addresses: Iterable[PodAddress], living: Iterable[str] = ()) -> None:
        """Ask these pods for a key from now on, instead of those before; `living` may stay known.

        Reports of pods that are neither asked nor living are dropped.
        """
        wanted = {address.uid: address for address in addresses}
        for uid, address in wanted.items():
            asked = self._asked.get(uid)
            if asked is None or asked.address != address:
                self._asked[uid] = PolledPage(key, address, self._every_s)
                self._turns.add(key.namespace, _now(), self._asked[uid])
                self._changed.set()
        known = frozenset(wanted) | (frozenset(living) & self.newest.keys())
        for uid in self._of_key.get(key, frozenset()) - frozenset(wanted):
            self._asked.pop(uid, None)
            if uid not in known:
                self._hearing.forget(key, uid)
        if known:
            self._of_key[key] = known
        else:
            self._of_key.pop(key, None)
            self._hearing.forget_service(key)

    async def run(self) -> None:
        """Ask until cancelled."""
        async with session_over(self._reach()) as session, asyncio.TaskGroup() as group:
            asker = PageClient(session, self._networks, self._resolve)
            while True:
                self._changed.clear()
                while (turn := self._turns.take(_now())) is not None:
                    owner, asked = turn
                    if self._is_asked(asked):
                        group.create_task(self._one(asker, asked))
                    else:
                        self._turns.done(owner)
                await self._until_due()

    async def _until_due(self) -> None:
        try:
            async with asyncio.timeout(self._turns.wait_s(_now())):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _one(self, asker: PageClient, asked: PolledPage) -> None:
        """Ask one, take in what came of it, and put it on the list for the next time."""
        began = _now()
        answer = await asker.ask(asked.address)
        self._turns.done(asked.key.namespace)
        if self._is_asked(asked):
            if self._hearing.heard(asked, answer, _now()):
                self._tell(asked.key)
            self._turns.add(asked.key.namespace, began + asked.every_s, asked)
        self._changed.set()

    def _is_asked(self, asked: PolledPage) -> bool:
        return self._asked.get(asked.address.uid) is asked


def _now() -> float:
    return asyncio.get_running_loop().time()
