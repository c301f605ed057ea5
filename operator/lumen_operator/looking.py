"""Where and when to look again, though no watch tells of anything."""

from collections.abc import Iterator
from datetime import timedelta

from lumen_manifest.names import SERVER_CONTAINER
from lumen_operator.attested import attestation_from
from lumen_operator.observe import Observed
from lumen_operator.pod_findings import Case, stalled_since
from lumen_operator.progress import progressed_at
from lumen_operator.target import Rollout
from lumen_operator.views import PodAddress

SOONEST_S = 1.0


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


def again_in_s(observed: Observed, rollout: Rollout) -> float | None:
    """Return when a deadline passes: that of the rollout, or that of a pod that stands still."""
    target, deadline = rollout.target, rollout.until if rollout.failed is None else None
    moments = [each for each in (deadline, rollout.look_again) if each is not None]
    limit = timedelta(seconds=target.service.spec.rollout.stall_seconds)
    moved = progressed_at(rollout.progress)
    case = Case(observed, target.service, target.pool, moved, observed.now)
    for pod in rollout.pods.fresh:
        container = pod.running_container
        since = stalled_since(case, pod, container) if container is not None else None
        if since is not None:
            moments.append(since + limit)
    ahead = [s for each in moments if (s := (each - observed.now).total_seconds()) > 0]
    return max(SOONEST_S, min(ahead)) if ahead else None
