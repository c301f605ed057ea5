"""Which revision runs, and how pods are replaced: pure, from what is observed.

The revision of the spec runs, unless it failed and the stable one can be had again, or its vectors
would be of another embedding space and nobody allowed that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.names import STABLE_VARIANT
from lumen_operator.diagnose.finding import Finding, find, worst
from lumen_operator.diagnose.pods import Case, finding_of
from lumen_operator.diagnose.scheduling import pods_forbidden
from lumen_operator.observe.decode import latest
from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import PodView
from lumen_operator.rollout.model import (
    Generations,
    Rollout,
    Variant,
    forbidden_pods,
    generations,
    staying,
)
from lumen_operator.rollout.pins import pinned_for, restored
from lumen_operator.rollout.progress import last_progress, progress_status, progressed_at
from lumen_operator.rollout.surge import with_steps

PROGRESSING = ConditionType.PROGRESSING


def plan_rollout(observed: Observed, current: Variant) -> Rollout:
    """Decide which revision a variant runs and how its pods replace the others.

    Status remembers one revision to return to, that of the stable variant: what another one runs
    is never rolled back, it fails where it is.
    """
    main = current.name == STABLE_VARIANT
    stable = _stable_target(observed, current) if main else None
    found = _look_at(observed, current, observed.status.stable_revision if main else "")
    if _other_space(observed, current, stable):
        return with_steps(observed, _held_back(observed, found, stable))
    if found.stable != current.revision and _is_proven(observed, found):
        return with_steps(observed, _look_at(observed, current, current.revision))
    if stable is None:
        return with_steps(observed, found)
    failed = found.failed is not None or observed.status.rejected_revision == current.revision
    if not (failed and current.service.spec.rollout.auto_rollback):
        return with_steps(observed, found)
    went = replace(
        _look_at(observed, stable, stable.revision),
        current=current.revision,
        rejected=current.revision,
        back=_rolled_back(observed, current.revision, found.failed),
    )
    return with_steps(observed, went)


def _look_at(observed: Observed, target: Variant, stable: str) -> Rollout:
    """Describe the rollout of a target, as far as it is; `stable` names the revision to keep."""
    pods = generations(observed.variant(target.name), target.revision)
    progress = progress_status(observed)
    case = Case(observed, target.service, target.pool, progressed_at(progress), observed.now)
    forbidden = forbidden_pods(observed.variant(target.name))
    kept_out = (
        (pods_forbidden(forbidden, target.pool, observed.key.namespace),) if forbidden else ()
    )
    found = Rollout(
        target=target,
        current=target.revision,
        stable=stable,
        pods=pods,
        findings=(*_findings(case, (*_lately_over(pods), *pods.fresh)), *kept_out),
        old_findings=tuple(_findings(case, pods.old)),
        progress=progress,
        pinned=pinned_for(observed, target.service),
    )
    if not _runs(observed, found):
        return found
    since = last_progress(observed, found)
    until = since + _deadline(target) if since is not None and _applied(observed, target) else None
    return replace(found, runs=True, until=until, failed=_failure(observed, found, until))


def _lately_over(pods: Generations) -> Iterator[PodView]:
    """Yield the pods that a node ended and that no later one has made up for.

    They stay for as long as nobody removes them, which may be days.
    """
    served = latest(pod.created_at for pod in pods.fresh if pod.serves)
    for pod in pods.evicted:
        if served is None or pod.created_at is None or pod.created_at >= served:
            yield pod


def _findings(case: Case, pods: Iterable[PodView]) -> Iterator[Finding]:
    found = (finding_of(case, pod) for pod in pods)
    return (each for each in found if each is not None)


def _runs(observed: Observed, found: Rollout) -> bool:
    """Return whether pods are being replaced, or the revision has never been Ready."""
    if found.target.service.spec.replicas == 0 and not staying(found.pods.old):
        return False
    if not _applied(observed, found.target) or staying(found.pods.old):
        return True
    return found.target.revision != found.stable


def _applied(observed: Observed, target: Variant) -> bool:
    deployment = observed.variant(target.name).deployment
    return deployment is not None and deployment.revision == target.revision


def _is_proven(observed: Observed, found: Rollout) -> bool:
    """Return whether the revision is the one to return to: every pod that has a node serves.

    A pod for which there is no node says nothing about the revision. Of the very first one a single
    pod that serves is enough, since any way back beats none.
    """
    deployment = observed.variant(found.target.name).deployment
    fresh = staying(found.pods.fresh)
    if deployment is None or not _applied(observed, found.target):
        return False
    if not any(pod.serves for pod in fresh):
        return False
    if not found.stable:
        return True
    seen = deployment.observed_generation >= deployment.generation
    alone = seen and not staying(found.pods.old)
    return alone and all(pod.serves or pod.unschedulable for pod in fresh)


def _failure(observed: Observed, found: Rollout, until: datetime | None) -> Finding | None:
    """Return why a rollout is given up on; None while it may still succeed."""
    main = worst(found.findings)
    if until is not None and observed.now >= until:
        limit_s = found.target.service.spec.rollout.progress_deadline_seconds
        said = f"Revision {found.target.revision} got no further for {limit_s} s."
        if main is None or main.waits:
            # It may have been slow: more time may help, and nothing else is known to be wrong.
            said = f"{said} {main.said}" if main is not None else said
            return find(PROGRESSING, Reason.ROLLOUT_STALLED, said)
        return _given_up(said, main)
    final = next((each for each in found.findings if each.final), None)
    if final is None or any(pod.serves for pod in found.pods.fresh):
        return None
    return _given_up(f"Revision {found.target.revision} failed.", final)


def _given_up(said: str, cause: Finding) -> Finding:
    """Say why a rollout is given up on; what is to be done about the cause is the remedy."""
    text = f"{said} {cause.reason}: {cause.said}"
    return find(PROGRESSING, Reason.ROLLOUT_STALLED, text, remedy=cause.remedy)


def _stable_target(observed: Observed, current: Variant) -> Variant | None:
    """Return the variant as the stable revision had it, if it is another and can still run."""
    name = observed.status.stable_revision
    if not name or name == current.revision:
        return None
    service = restored(current.service, observed.revisions, name)
    pool = observed.pools.get(service.spec.pool or "") if service is not None else None
    if service is None or pool is None or service.spec.model.runtime not in pool.spec.runtimes:
        return None
    return replace(current, service=service, pool=pool, revision=name)


def _other_space(observed: Observed, current: Variant, stable: Variant | None) -> bool:
    """Return whether the current revision would change the vectors' meaning without leave."""
    name = observed.status.stable_revision
    if current.service.spec.rollout.allow_reindex or name in {"", current.revision}:
        return False
    before = pinned_for(observed, stable.service) if stable is not None else None
    after = pinned_for(observed, current.service)
    known = (
        before.embedding_space if before is not None else ""
    ) or observed.status.embedding_space
    new = after.embedding_space if after is not None else ""
    return bool(known and new and known != new)


def _held_back(observed: Observed, found: Rollout, stable: Variant | None) -> Rollout:
    """Let the stable revision serve on; without one the new one runs, and embeds for nobody."""
    remedy = (
        "To switch, set rollout.allowReindex: true and compute every stored vector anew; "
        "to stay, name the earlier model again."
    )
    said = (
        "The new revision's vectors are of another embedding space than those of "
        f"{observed.status.stable_revision}: stored vectors could not be compared with new ones."
    )
    if stable is None:
        why = find(PROGRESSING, Reason.ROLLOUT_STALLED, said, remedy=remedy)
        return replace(found, failed=why, until=None)
    said = f"{said} {observed.status.stable_revision} serves on."
    why = find(PROGRESSING, Reason.ROLLED_BACK, said, remedy=remedy)
    return replace(_look_at(observed, stable, stable.revision), current=found.current, back=why)


def _rolled_back(observed: Observed, revision: str, failed: Finding | None) -> Finding:
    """Say why; once the failed pods are gone, the condition alone remembers it."""
    before = next((c for c in observed.status.conditions if c.type is PROGRESSING), None)
    if failed is None and before is not None and before.reason == Reason.ROLLED_BACK:
        return Finding(PROGRESSING, Reason.ROLLED_BACK, before.message)
    said = failed.said if failed is not None else f"Revision {revision} was rejected before."
    again = (
        f"{Reason.ROLLED_BACK.remedy()} To try it again unchanged, set rollout.autoRollback: false."
    )
    return find(
        PROGRESSING,
        Reason.ROLLED_BACK,
        f"{said} {observed.status.stable_revision} serves again.",
        remedy=f"{failed.remedy} {again}" if failed is not None else again,
    )


def _deadline(target: Variant) -> timedelta:
    return timedelta(seconds=target.service.spec.rollout.progress_deadline_seconds)
