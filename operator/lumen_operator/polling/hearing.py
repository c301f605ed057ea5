"""What answers of status pages mean: reports, what is told of them, and when to ask again.

`status_poller` asks and calls it. A page may say something else each time it is asked, and every
change is a status that is written: news is told at once, changes no more often than they may. It is
told the time of the loop; a report's own time is the clock's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lumen_operator.observe.kinds import Key
from lumen_operator.observe.views import PodAddress, PodReport
from lumen_operator.polling.asker import PageAnswer
from lumen_operator.rollout.pins import SERVING

AT_MOST_EVERY_S = 300.0
TOLD_EVERY = 12
"""Of a server outside the cluster, changes are told as often as this many askings: each minute."""
SILENT_AFTER = 6
"""Half a minute: for so many askings such a server may be silent, if at least two were in vain."""
IN_VAIN = 2


@dataclass(slots=True)
class PolledPage:
    """One pod to ask, for whom, and how long until the next time; and what came of it so far."""

    key: Key
    address: PodAddress
    every_s: float
    served: bool = False
    in_vain: int = 0
    answered_at: float | None = None

    def is_silent(self, now: float, patience_s: float) -> bool:
        """Return whether a server that does not answer has had its time."""
        if self.answered_at is None:
            return True
        return self.in_vain >= IN_VAIN and now - self.answered_at >= patience_s


@dataclass(slots=True)
class Damper:
    """The changes of one service's pages, as far as they were not told yet."""

    _told_at: float = float("-inf")
    _held: dict[str, PodReport] = field(default_factory=dict)

    def offer(
        self, page: str, value: PodReport, now: float, every_s: float
    ) -> dict[str, PodReport]:
        """Take in a page's change; return what is to be told now, of this page and the others.

        Changes are told `every_s` apart, and so at once with 0: that is for news.
        """
        self._held[page] = value
        if now - self._told_at < every_s:
            return {}
        told, self._held, self._told_at = self._held, {}, now
        return told

    def withdraw(self, page: str) -> None:
        """Forget what a page wanted to tell: it is as it was, or nobody asks it any more."""
        self._held.pop(page, None)


@dataclass(slots=True)
class ReportReader:
    """The newest report of every pod, as far as it was told, and the changes that wait."""

    every_s: float
    reports: dict[str, PodReport] = field(default_factory=dict)
    _dampers: dict[Key, Damper] = field(default_factory=dict)

    def heard(self, asked: PolledPage, answer: PageAnswer, now: float) -> bool:
        """Take in what came of asking; return whether the service has something new to look at."""
        if answer.page is not None:
            asked.every_s, asked.in_vain, asked.answered_at = self.every_s, 0, now
        else:
            asked.every_s = min(2 * asked.every_s, AT_MOST_EVERY_S)
            asked.in_vain += 1
            silent = answer.refused or asked.is_silent(now, SILENT_AFTER * self.every_s)
            if not (asked.address.external and silent):
                return False
        return self._offer(asked, _report(asked.address, answer), now)

    def forget(self, key: Key, uid: str) -> None:
        """Forget what a pod said."""
        self.reports.pop(uid, None)
        if (damper := self._dampers.get(key)) is not None:
            damper.withdraw(uid)

    def forget_service(self, key: Key) -> None:
        """Forget a service none of whose pods is known any more."""
        self._dampers.pop(key, None)

    def _offer(self, asked: PolledPage, report: PodReport, now: float) -> bool:
        """Show a report that says nothing new, or whose time to be told has come."""
        before = self.reports.get(report.uid)
        damper = self._dampers.setdefault(asked.key, Damper())
        if before is not None and report.says_what(before):
            self.reports[report.uid] = report
            damper.withdraw(report.uid)
            return False
        told = damper.offer(report.uid, report, now, self._told_every_s(asked, report, before))
        self.reports |= told
        return bool(told)

    def _told_every_s(
        self, asked: PolledPage, report: PodReport, before: PodReport | None
    ) -> float:
        """Return how far apart changes are told.

        The first word of a container, and that it serves for the first time, are told at once.
        """
        serves = _serves(report.document) and not asked.served
        asked.served |= serves
        if serves or before is None or before.container != report.container:
            return 0.0
        return self.every_s * (TOLD_EVERY if asked.address.external else 1)


def _serves(page: Mapping[str, object]) -> bool:
    return page.get("phase") == SERVING


def _report(address: PodAddress, answer: PageAnswer) -> PodReport:
    return PodReport(
        uid=address.uid,
        container=address.container,
        document=answer.page or {},
        at=datetime.now(UTC),
        addresses=answer.addresses,
        answers=answer.page is not None,
    )
