"""What holds a pod that does not serve: from its status, its last words and its status page.

One finding for each pod, about the first of its steps that is not done: a node, the images, the
files, the label vectors, the server.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from lumen_manifest.conditions import OUTCOMES, READY_NEEDS, ConditionType, Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import (
    CACHE_DIR,
    PREPARE_CONTAINER,
    RESOURCES_CONTAINER,
    SERVER_CONTAINER,
)
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.pod_reports import (
    Failure,
    ProgressReport,
    named_failure,
    parse_termination,
    progress_of,
)
from lumen_operator.diagnose.finding import Finding, condition_of, counted, find
from lumen_operator.diagnose.nodes import cannot_be_set_up, node_lost, why_over
from lumen_operator.diagnose.scheduling import volume_not_bound, why_unscheduled
from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import ContainerView, PodView, Terminated

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
START_REASONS = frozenset(
    {"CreateContainerError", "CreateContainerConfigError", "RunContainerError", "StartError"}
)
RETRIED = 2
"""A failure that cannot be helped by trying again is believed after so many tries more."""

AVAILABLE, RESOURCES = ConditionType.AVAILABLE, ConditionType.RESOURCES_READY
DEVICE = ConditionType.DEVICE_READY
_DRIVER_WORDS = ("driver", "cuda>=", "libcuda", "insufficient for cuda", "rocm version")
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: (ErrImagePull: )?)?')
"""What a kubelet puts before the registry's words while it waits, and no more for the next try."""
_NODE_WENT_DOWN = frozenset({"ContainerStatusUnknown", "Unknown"})
"""How a run is said to have ended that nobody saw the end of: its node went down with it."""
_OURS = frozenset({RESOURCES_CONTAINER, PREPARE_CONTAINER, SERVER_CONTAINER})
_SIGKILL = 137


@dataclass(frozen=True, slots=True)
class Case:
    """What a pod is judged by: `progressed_at` is the last progress of any pod's fetching."""

    observed: Observed
    service: LumenModelService
    pool: LumenNodePool
    progressed_at: datetime | None
    now: datetime


def finding_of(case: Case, pod: PodView) -> Finding | None:
    """Return what holds a pod; None when it serves, ends, or is over without saying why."""
    if pod.over:
        return why_over(case.service, case.pool, pod)
    if pod.serves:
        return None
    lost = node_lost(case.observed, pod)
    if lost is not None or pod.terminating:
        return lost
    if pod.unschedulable:
        return why_unscheduled(case.observed, case.pool, pod)
    return (
        cannot_be_set_up(case.observed, case.pool, pod)
        or _first_not_done(case, pod)
        or volume_not_bound(case.observed, pod)
        or _not_yet(case, pod)
    )


def _first_not_done(case: Case, pod: PodView) -> Finding | None:
    waiting = (each for each in pod.containers if not _is_done(each))
    found = (_why_not_done(case, pod, each) for each in waiting)
    return next((each for each in found if each is not None), None)


def _is_done(container: ContainerView) -> bool:
    """Return whether what comes after an init container may start: a sidecar only has to run."""
    sidecar = container.name not in _OURS and container.running and container.ready
    return container.init and (container.succeeded or sidecar)


def _why_not_done(case: Case, pod: PodView, container: ContainerView) -> Finding | None:
    if container.waiting in IMAGE_REASONS:
        return _image_not_pulled(case, pod, container)
    if container.waiting in START_REASONS:
        return _cannot_start(case, pod, container, container.waiting_message)
    failed = container.last_failure
    if failed is None and container.waiting == "CrashLoopBackOff":
        failed = container.ended_before  # a server that ends well has ended all the same
    if failed is not None and failed.reason in _NODE_WENT_DOWN:
        failed = None
    if failed is not None and not (container.running and _works_again(case, pod, container)):
        return _why_failed(case, pod, container, failed)
    return _at_work(case, pod, container) if container.running else None


def _image_not_pulled(case: Case, pod: PodView, container: ContainerView) -> Finding:
    """Pass on the registry's words, the same whether the kubelet tries or waits to try again."""
    words = _BACK_OFF.sub("", container.waiting_message)
    tried = container.waiting in {"ErrImagePull", "ImagePullBackOff"}
    before = next((c for c in case.observed.status.conditions if c.type is AVAILABLE), None)
    if not words and before is not None and before.reason == Reason.IMAGE_PULL_FAILED:
        # Kubelets of before 1.31 do not repeat them while they wait.
        return Finding(AVAILABLE, Reason.IMAGE_PULL_FAILED, before.message, before.message)
    why = words or container.waiting_message or container.waiting
    said = f"Pod {pod.name} cannot get the image of container {container.name}: "
    said += why if tried else f"{container.waiting}: {why}"
    return _found(case, pod, Reason.IMAGE_PULL_FAILED, said)


def _found(case: Case, pod: PodView, reason: Reason, said: str, container: str = "") -> Finding:
    """Make a finding whose remedy may name where the pod is and what it belongs to."""
    return find(
        condition_of(reason, at=AVAILABLE),
        reason,
        said,
        pod=pod.name,
        namespace=pod.namespace,
        node=pod.node or "NAME",
        pool=case.pool.name,
        service=case.service.name,
        container=container,
    )


def _works_again(case: Case, pod: PodView, container: ContainerView) -> bool:
    """Return whether a new attempt got further: until then the last failure stands.

    Once it did, it is at work until it ends, also where nothing comes for a moment.
    """
    report = case.observed.reports.get(pod.uid)
    if not container.init or report is None or report.container != container.name:
        return False
    newer = container.started_at is None or report.at >= container.started_at
    before = next((c for c in case.observed.status.conditions if c.type is RESOURCES), None)
    at_work = before is not None and before.reason in {Reason.FETCHING, Reason.PREPARING}
    return newer and (at_work or progress_of(report.document).rate_bytes_per_s > 0)


def _why_failed(case: Case, pod: PodView, container: ContainerView, run: Terminated) -> Finding:
    """Name a failure by its own words, else by how the process ended."""
    if run.reason == "OOMKilled":
        return _out_of_memory(case, pod, container)
    named = named_failure(parse_termination(run.message.encode()))
    if named is not None and (found := _in_its_words(case, pod, container, named)) is not None:
        return found
    if run.reason in START_REASONS or run.reason == "ContainerCannotRun":
        return _cannot_start(case, pod, container, run.message)
    return _unnamed(case, pod, container, run)


def _out_of_memory(case: Case, pod: PodView, container: ContainerView) -> Finding:
    limit = case.service.spec.resources.limits.get("memory")
    said = f"Container {container.name} of pod {pod.name} needed more memory than "
    if limit is None:
        said += "it could have."
        remedy = (
            "Set spec.resources.limits.memory and requests.memory: the service sets no limit, so "
            "the node, or a LimitRange of the namespace, ended it."
        )
        return find(AVAILABLE, Reason.OUT_OF_MEMORY, said, remedy=remedy)
    said += f"its limit of {limit}."
    remedy = "Raise spec.resources.limits.memory, which holds for each container of the pod."
    return find(AVAILABLE, Reason.OUT_OF_MEMORY, said, remedy=remedy if container.init else None)


def _in_its_words(
    case: Case, pod: PodView, container: ContainerView, named: Failure
) -> Finding | None:
    """Take over what a process named; None for a word that is not a failure of a pod."""
    condition = condition_of(named.reason, at=RESOURCES if container.init else AVAILABLE)
    reason = named.reason
    if reason is Reason.UNKNOWN and condition is AVAILABLE:
        reason = Reason.SERVER_CRASHED  # the server knew no better word for it
    if condition not in READY_NEEDS or reason not in OUTCOMES[condition].otherwise:
        return None
    remedy = named.remedy or reason.remedy(**_facts(case, pod, named))
    return find(
        condition,
        reason,
        named.message,
        remedy=_look_into_secret(case, pod, reason) + remedy,
        final=named.final and container.restarts >= RETRIED,
    )


def _look_into_secret(case: Case, pod: PodView, reason: Reason) -> str:
    """Point to the Secret first where access is refused: the operator may not look into it."""
    secret = case.service.spec.model.source.secret_ref
    if secret is None or reason is not Reason.UNAUTHORIZED:
        return ""
    keys = f"kubectl describe secret -n {pod.namespace} {secret.name}"
    return f"See that the Secret {secret.name} has the key that the source asks for ({keys}). "


def _facts(case: Case, pod: PodView, named: Failure) -> dict[str, str]:
    """Gather what a reason's own remedy asks for, where the process gave none."""
    model = case.service.spec.model
    return {
        "file": named.file or "the file",
        "path": named.file or CACHE_DIR,
        "source": model.source.uri or f"{model.name}'s repository",
        "package": f"the package of {model.runtime}",
        "missing": "space on the cache's volume",
        "node": pod.node or "the node",
        "service": case.service.name,
    }


def _unnamed(case: Case, pod: PodView, container: ContainerView, run: Terminated) -> Finding:
    lines = run.message.strip().splitlines()
    last = f" Its last line: {lines[-1][:1024]}" if lines else ""
    how = f"exit code {run.exit_code}" + (" (killed)" if run.exit_code == _SIGKILL else "")
    times = f", {counted(container.restarts, 'restart')}" if container.restarts else ""
    said = f"Container {container.name} of pod {pod.name} ended with {how}{times}.{last}"
    if container.init:
        return _found(case, pod, Reason.INIT_CRASHED, said, container.name)
    return find(AVAILABLE, Reason.SERVER_CRASHED, said, service=case.service.name)


def _cannot_start(case: Case, pod: PodView, container: ContainerView, message: str) -> Finding:
    """Tell a driver that is too old from everything else that a runtime refuses."""
    if case.pool.spec.device is not None and any(w in message.lower() for w in _DRIVER_WORDS):
        return find(DEVICE, Reason.DRIVER_MISMATCH, message, node=pod.node or "the node")
    said = f"Container {container.name} of pod {pod.name} cannot start: {message}"
    return _found(case, pod, Reason.START_FAILED, said)


def _at_work(case: Case, pod: PodView, container: ContainerView) -> Finding:
    if container.name in {RESOURCES_CONTAINER, PREPARE_CONTAINER}:
        return _stalled(case, pod, container) or _fetching(case, pod, container)
    said = f"Pod {pod.name} loads the model."
    return find(AVAILABLE, Reason.NO_REPLICA_READY, said, service=case.service.name)


def _fetching(case: Case, pod: PodView, container: ContainerView) -> Finding:
    """Say what is at work, and how often it was tried.

    The figures are in status.files.progress: here they would make a transition of each.
    """
    reason = Reason.FETCHING if container.name == RESOURCES_CONTAINER else Reason.PREPARING
    report = case.observed.reports.get(pod.uid)
    asked = report is not None and report.container == container.name
    page = progress_of(report.document if report is not None and asked else {})
    notes = ["another pod fetches into the same cache"] if page.phase == "Waiting" else []
    notes += _attempts(container, page)
    return find(RESOURCES, reason, f"{reason.meaning[:-1]}: {'; '.join(notes)}." if notes else "")


def _attempts(container: ContainerView, page: ProgressReport) -> list[str]:
    """Say how many times fetching began, and what the last time ended with."""
    failed = container.last_failure
    named = named_failure(parse_termination(failed.message.encode())) if failed else None
    last = page.last_error or (named.message if named is not None else "")
    tries = 1 + container.restarts + page.failures
    if tries == 1 or not last:
        return []
    return [f"attempt {tries}, last: {last.rstrip('.')}"]


def _stalled(case: Case, pod: PodView, container: ContainerView) -> Finding | None:
    """Say that nothing moves: only a status page can, a pod without one is not accused."""
    since = stalled_since(case, pod, container)
    limit_s = case.service.spec.rollout.stall_seconds
    if since is None or case.now - since < timedelta(seconds=limit_s):
        return None
    progress = progress_of(case.observed.reports[pod.uid].document)
    at = f" at {progress.file}" if progress.file else ""
    said = f"Nothing has moved for {limit_s} s{at} ({progress.phase or container.name})."
    return find(RESOURCES, Reason.STALLED, said)


def stalled_since(case: Case, pod: PodView, container: ContainerView) -> datetime | None:
    """Return when a working container last got further; None when nobody can know."""
    report = case.observed.reports.get(pod.uid)
    if report is None or report.container != container.name:
        return None
    return case.observed.counted_from_last((container.started_at, case.progressed_at))


def _not_yet(case: Case, pod: PodView) -> Finding:
    what = "is starting" if pod.scheduled else "waits for the scheduler"
    said = f"Pod {pod.name} {what}."
    return find(AVAILABLE, Reason.NO_REPLICA_READY, said, service=case.service.name)
