"""How far fetching is, and when anything last moved: what the deadlines run from.

The figures are those of all working pods together; the time of the last change is kept in status,
since a status page knows no past.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from lumen_manifest.names import PREPARE_CONTAINER, RESOURCES_CONTAINER
from lumen_manifest.pod_reports import COUNT_MAX, progress_of
from lumen_manifest.spec.service_status import ProgressStatus
from lumen_operator.diagnose.pods import RETRIED
from lumen_operator.observe.decode import latest, parse_time
from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import PodReport, PodView
from lumen_operator.rollout.model import Rollout, newest_replica_set

_WORKERS = (RESOURCES_CONTAINER, PREPARE_CONTAINER)


def timestamp(moment: datetime) -> str:
    """Write a time as Kubernetes does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def progress_status(observed: Observed) -> ProgressStatus | None:
    """Add up what the working pods report; None when no pod fetches or prepares.

    Until one of them has been asked, what was known stays: a restart of ours is not progress.
    """
    before = observed.status.files.progress if observed.status.files else None
    working = tuple(_working(observed))
    reports = tuple(filter(None, (_report(observed, pod, name) for pod, name in working)))
    if not reports:
        return before if working else None
    pages = [progress_of(each.document) for each in reports]
    slowest = max((page.eta_s for page in pages if page.eta_s is not None), default=None)
    found = ProgressStatus(
        phase=pages[0].phase,
        bytes_done=min(COUNT_MAX, sum(page.done_bytes for page in pages)),
        bytes_total=min(COUNT_MAX, sum(page.total_bytes for page in pages)),
        eta_seconds=None if slowest is None else round(slowest),
    )
    moved = before is None or (before.phase, before.bytes_done) != (found.phase, found.bytes_done)
    at = max(each.at for each in reports)
    since = timestamp(at) if moved or not before else before.progressed_at
    return found.model_copy(update={"progressed_at": since})


def progressed_at(progress: ProgressStatus | None) -> datetime | None:
    """Return when fetching last moved, by the pods' own account."""
    return parse_time(progress.progressed_at) if progress else None


def last_progress(observed: Observed, found: Rollout) -> datetime | None:
    """Return from when a rollout's deadline runs.

    That is its first pod (or when none could be made), then each step of fetching and preparing and
    each pod that serves. Starts that are repeated again and again, and pods that are evicted and
    made anew, are not progress. Of what was before the clock was set no time counts.
    """
    pods = found.pods
    waiting = [pod for pod in (*pods.evicted, *pods.fresh) if not pod.serves]
    begun = min((pod.created_at for pod in waiting if pod.created_at), default=None)
    served = (pod.changed_at for pod in pods.fresh if pod.serves)
    newest = newest_replica_set(observed.variant(found.target.name))
    if begun is None and newest is not None and newest.forbidden:
        begun = newest.forbidden_since
    steps: list[datetime | None] = []
    if not pods.evicted:
        steady = [pod for pod in waiting if not _repeats(pod)]
        steps = [_last_step(pod) for pod in steady]
        steps += [progressed_at(found.progress)] if steady else []
    return observed.counted_from_last((begun, *served, *steps))


def _working(observed: Observed) -> Iterator[tuple[PodView, str]]:
    """Yield the pods that fetch or prepare, each with the container that does."""
    for pod in observed.pods:
        container = pod.running_container
        if pod.over or pod.terminating or container is None:
            continue
        if container.name in _WORKERS:
            yield pod, container.name


def _report(observed: Observed, pod: PodView, container: str) -> PodReport | None:
    report = observed.reports.get(pod.uid)
    return report if report is not None and report.container == container else None


def _repeats(pod: PodView) -> bool:
    return any(container.restarts > RETRIED for container in pod.containers)


def _last_step(pod: PodView) -> datetime | None:
    ends = (c.ended.finished_at for c in pod.containers if c.init and c.succeeded and c.ended)
    return latest(iter(ends))
