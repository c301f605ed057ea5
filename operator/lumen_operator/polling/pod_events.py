"""Why a node cannot set a pod up: its mounts, its network, its sandbox; only events say so.

Events are not watched: a cluster has more of them than of all else. Those of one pod are asked for
while it stands longer than setting up takes, which `diagnose.nodes` says; `reconcile` calls it.
"""

from collections.abc import Iterable

import structlog

from lumen_cluster.client import ApiRequest, Caller
from lumen_cluster.errors import ApiError
from lumen_cluster.kinds import EVENTS, Raw, collection_path
from lumen_operator.observe import decode
from lumen_operator.observe.views import PodView

ASKED_AT_ONCE = 3
"""Pods of one service mostly lack the same."""
EVENTS_MAX = 50
ASK_S = 5.0
TOLD = frozenset(
    {
        "FailedMount",
        "FailedAttachVolume",
        "FailedMapVolume",
        "FailedCreatePodSandBox",
        "FailedPodSandBoxStatus",
        "NetworkNotReady",
    }
)
_SAYS_LITTLE = "timed out waiting"

log = structlog.get_logger(__name__)


class PodEvents:
    """Asks for the events of pods."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def words_of(self, pods: Iterable[PodView]) -> dict[str, str]:
        """Return what their nodes say of pods, by uid; nothing where they cannot be asked."""
        found = {}
        for pod in tuple(pods)[:ASKED_AT_ONCE]:
            try:
                words = newest_trouble(await self._events_of(pod))
            except ApiError as error:
                log.warning("a pod's events cannot be read", pod=pod.name, why=str(error))
                break
            if words:
                found[pod.uid] = words
        return found

    async def _events_of(self, pod: PodView) -> list[Raw]:
        query = {"fieldSelector": f"regarding.uid={pod.uid}", "limit": str(EVENTS_MAX)}
        path = collection_path(EVENTS, pod.namespace)
        return decode.items(
            await self._caller.ask(ApiRequest("GET", path, query, deadline_s=ASK_S)), "items"
        )


def newest_trouble(events: Iterable[Raw]) -> str:
    """Return the newest words of a node about what keeps a pod from being set up. Pure.

    That a wait timed out is told only when nothing says what was waited for.
    """
    told = [each for each in events if decode.text(each, "reason") in TOLD]
    telling = [each for each in told if _SAYS_LITTLE not in decode.text(each, "note")]
    newest = max(telling or told, key=_last_seen, default=None)
    if newest is None:
        return ""
    return f"{decode.text(newest, 'reason')}: {decode.text(newest, 'note')}"


def _last_seen(event: Raw) -> str:
    """Return when an event was last seen, RFC 3339 in UTC: such times sort as texts."""
    series = decode.text(decode.mapping(event, "series"), "lastObservedTime")
    return (
        series or decode.text(event, "deprecatedLastTimestamp") or decode.text(event, "eventTime")
    )
