"""Where and when to look again, though no watch tells of anything."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.names import SERVER_CONTAINER
from lumen_operator.diagnose.pods import Case, stalled_since
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import PodAddress
from lumen_operator.rollout.model import Rollout
from lumen_operator.rollout.progress import progressed_at
from lumen_operator.status.attested import attestation_from

SOONEST_S = 1.0
FOREIGN_S = (2.0, 30.0)
"""How soon, and how late at most, an object in the way of a child is looked for again."""


def pods_to_ask(observed: Observed) -> Iterator[PodAddress]:
    """Name the pods to ask: until they are ready, and then until the server has attested."""
    for pod in observed.pods:
        if pod.over or pod.terminating or not pod.ip:
            continue
        if pod.ready:
            if attestation_from(observed, pod.uid) is None:
                yield PodAddress(pod.uid, pod.ip, SERVER_CONTAINER)
        elif (container := pod.running_container) is not None:
            yield PodAddress(pod.uid, pod.ip, container.name)


def conflict_told_at(observed: Observed) -> datetime | None:
    """Return since when the status says FieldConflict; None while it does not."""
    for each in observed.status.conditions:
        if each.type is ConditionType.ACCEPTED and each.reason == Reason.FIELD_CONFLICT:
            return decode.parse_time(each.last_transition_time) or observed.now
    return None


def foreign_again_in_s(observed: Observed) -> float:
    """Return when to look again for an object in the way: the longer it stands, the later."""
    told_at = conflict_told_at(observed)
    stood_s = (observed.now - told_at).total_seconds() if told_at is not None else 0.0
    soonest, latest = FOREIGN_S
    return min(latest, max(soonest, stood_s / 4))


def requeue_after_s(observed: Observed, rollouts: Iterable[Rollout]) -> float | None:
    """Return when a deadline passes: that of a rollout, or that of a pod that stands still."""
    moments = [moment for rollout in rollouts for moment in _deadlines(observed, rollout)]
    ahead = [s for each in moments if (s := (each - observed.now).total_seconds()) > 0]
    return max(SOONEST_S, min(ahead)) if ahead else None


def _deadlines(observed: Observed, rollout: Rollout) -> Iterator[datetime]:
    target, deadline = rollout.target, rollout.until if rollout.failed is None else None
    yield from (each for each in (deadline, rollout.look_again) if each is not None)
    limit = timedelta(seconds=target.service.spec.rollout.stall_seconds)
    moved = progressed_at(rollout.progress)
    case = Case(observed, target.service, target.pool, moved, observed.now)
    for pod in rollout.pods.fresh:
        container = pod.running_container
        since = stalled_since(case, pod, container) if container is not None else None
        if since is not None:
            yield since + limit
