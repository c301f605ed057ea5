"""Conditions from findings: what is true, and what is not with its reason; and their events.

A condition's time is that of its last change of status; an event is posted when its status or its
reason changed, once, since the next observation has them already.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.pod_reports import attestation_of
from lumen_manifest.spec.service_status import Condition
from lumen_operator.diagnose.finding import MESSAGE_MAX, WAITING, Finding, find, worst
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout, staying
from lumen_operator.rollout.pins import verified_by
from lumen_operator.rollout.progress import timestamp
from lumen_operator.status.availability import (
    how_many,
    none_serves,
    pods_wanted,
    some_serve,
)
from lumen_operator.status.events import EventNote
from lumen_operator.status.statements import (
    FALSE,
    TRUE,
    UNKNOWN,
    ConditionState,
    Statements,
    fails,
    holds,
    pointing_at_cause,
    ready_of,
    unknown,
)

NORMAL = WAITING | {Reason.ROLLOUT_COMPLETE}
NOT_NORMAL = frozenset({Reason.ROLLED_BACK, Reason.DEGRADED})
EVENT_MESSAGE_MAX = 1024
"""What events.k8s.io takes as a note."""


def service_statements(
    observed: Observed, rollouts: Sequence[Rollout], problem: Finding | None
) -> dict[ConditionType, ConditionState]:
    """State all of a service that runs here; `problem` is what is wrong with its spec."""
    if problem is None and not any(pod.serves for pod in observed.pods):
        found_by_pods = (each for rollout in rollouts for each in rollout.findings)
        problem = next((f for f in found_by_pods if f.condition is ConditionType.ACCEPTED), None)
    found = {
        ConditionType.ACCEPTED: fails(problem) if problem else accepted(observed),
        **_of_pods(observed, rollouts),
        ConditionType.PROGRESSING: _progressing(rollouts, problem),
    }
    if rollouts[0].target.service.spec.autoscaling is not None:
        found[ConditionType.AUTOSCALING] = _autoscaling(observed)
    told = pointing_at_cause(found, pods=observed.pods)
    return {**told, ConditionType.READY: ready_of(told)}


def accepted(observed: Observed) -> ConditionState:
    """State that the spec can be carried out, and whom callers reach by which names.

    A name that came from another service, or went to one, is so a change that is told.
    """
    names = ", ".join(observed.callers.held(observed.key.name))
    return holds(Reason.ACCEPTED, f"{Reason.ACCEPTED.meaning} Callers reach it as {names}.")


def _of_pods(
    observed: Observed, rollouts: Sequence[Rollout]
) -> dict[ConditionType, ConditionState]:
    if any(pod.serves for pod in observed.pods):
        return {
            ConditionType.RESOURCES_READY: holds(Reason.VERIFIED),
            ConditionType.DEVICE_READY: _attested(observed, rollouts),
            ConditionType.AVAILABLE: some_serve(observed, rollouts),
        }
    return {
        ConditionType.RESOURCES_READY: _resources(observed, rollouts),
        ConditionType.DEVICE_READY: _stated(rollouts, ConditionType.DEVICE_READY) or unknown(),
        ConditionType.AVAILABLE: none_serves(
            observed, rollouts, _first(rollouts, ConditionType.AVAILABLE)
        ),
    }


def _attested(observed: Observed, rollouts: Iterable[Rollout]) -> ConditionState:
    """A server becomes ready on its device only; its page says on which."""
    for pool, pod in ((each.target.pool, pod) for each in rollouts for pod in each.pods.fresh):
        said = _device_of(observed, pod.uid)
        if pod.serves and said and said not in {pool.spec.accelerator.value, "fake"}:
            text = (
                f"Pool {pool.name} promises {pool.spec.accelerator}, pod {pod.name} is on {said}."
            )
            return fails(find(ConditionType.DEVICE_READY, Reason.DEVICE_MISMATCH, text))
    return holds(Reason.DEVICE_ATTESTED)


def _device_of(observed: Observed, uid: str) -> str:
    report = observed.reports.get(uid)
    return attestation_of(report.document).device if report is not None else ""


def _resources(observed: Observed, rollouts: Sequence[Rollout]) -> ConditionState:
    found = _stated(rollouts, ConditionType.RESOURCES_READY)
    if found is not None:
        return found
    fresh = (pod for each in rollouts for pod in each.pods.fresh)
    if any(verified_by(observed, pod) is not None for pod in fresh):
        return holds(Reason.VERIFIED)
    return unknown()


def _first(rollouts: Iterable[Rollout], type_: ConditionType) -> Finding | None:
    every = (finding for each in rollouts for finding in each.findings)
    return worst(finding for finding in every if finding.condition is type_)


def _stated(rollouts: Iterable[Rollout], type_: ConditionType) -> ConditionState | None:
    found = _first(rollouts, type_)
    return fails(found) if found is not None else None


def _progressing(rollouts: Sequence[Rollout], problem: Finding | None) -> ConditionState:
    """Tell of the first variant that went back, else that failed, else that is replaced."""
    told = min(rollouts, key=lambda each: (each.back is None, each.failed is None, not each.runs))
    if told.back is not None:
        return ConditionState(TRUE, told.back.reason, told.back.message)
    if told.failed is not None:
        return fails(told.failed)
    if told.runs:
        return _rolling_out(told, problem)
    return ConditionState(FALSE, Reason.ROLLOUT_COMPLETE, _complete(rollouts))


def _complete(rollouts: Iterable[Rollout]) -> str:
    """Say that nothing is left to replace, and not that pods run which do not."""
    there = [pod for each in rollouts for pod in staying(each.pods.fresh)]
    wanted = pods_wanted(rollouts)
    if len(there) >= wanted:
        return Reason.ROLLOUT_COMPLETE.meaning
    return f"No pod of an earlier revision is left; {len(there)} of {wanted} are there."


def _rolling_out(rollout: Rollout, problem: Finding | None) -> ConditionState:
    serving = sum(pod.serves for pod in rollout.pods.fresh)
    said = f"Revision {rollout.target.revision}: {how_many(serving, rollout.replicas)}"
    holds_it = worst(rollout.findings) or problem
    why = holds_it.message if holds_it is not None else ""
    return holds(Reason.ROLLING_OUT, f"{said} {why}".strip()[:MESSAGE_MAX])


def _autoscaling(observed: Observed) -> ConditionState:
    view = observed.autoscaler
    if view is None or not view.scaling or view.scaling == UNKNOWN:
        return unknown(Reason.METRICS_UNAVAILABLE, "The autoscaler has not looked yet.")
    if view.scaling == TRUE:
        return holds(Reason.ACTIVE)
    if view.reason == "ScalingDisabled":
        text = "spec.replicas is 0, so nothing is scaled. Start it with `kubectl scale lms`."
        return ConditionState(FALSE, Reason.METRICS_UNAVAILABLE, text)
    said = f"{view.reason}: {view.message}"
    return fails(find(ConditionType.AUTOSCALING, Reason.METRICS_UNAVAILABLE, said))


def conditions_of(
    found: Statements, before: Iterable[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Write the statements down, in the order of the condition types."""
    known = {each.type: each for each in before}
    return tuple(
        _condition(type_, found[type_], known.get(type_), generation, now)
        for type_ in ConditionType
        if type_ in found
    )


def kept(before: Iterable[Condition]) -> dict[ConditionType, ConditionState]:
    """Read statements that still stand, for what cannot be judged anew."""
    reasons = {each.value: each for each in Reason}
    return {
        each.type: ConditionState(
            each.status, reasons[each.reason], each.message, each.observed_generation
        )
        for each in before
        if each.reason in reasons
    }


def events_of(now: Iterable[Condition], before: Iterable[Condition]) -> tuple[EventNote, ...]:
    """Note what changed: what went wrong, each; what went well, by the one word that covers it.

    Becoming Ready covers all that became true with it but for the names that callers say, and being
    accepted covers how a new object begins: without a replica, rolling out. Ready that is lost is
    told by its causes.
    """
    known = {each.type: _told(each) for each in before}
    notes = [_note(each) for each in now if known.get(each.type) != _told(each) and _is_news(each)]
    covering: set[str] = {note.reason for note in notes} & {Reason.READY}
    if covering or not known:
        covering.add(Reason.ACCEPTED)
    return tuple(
        note for note in notes if not covering or note.type == "Warning" or note.reason in covering
    )


def _condition(
    type_: ConditionType,
    said: ConditionState,
    before: Condition | None,
    generation: int,
    now: datetime,
) -> Condition:
    same = before is not None and before.status == said.status and before.last_transition_time
    return Condition(
        type=type_,
        status=said.status,
        reason=said.reason,
        message=said.message,
        last_transition_time=before.last_transition_time if before and same else timestamp(now),
        observed_generation=said.generation or generation,
    )


def _told(condition: Condition) -> tuple[str, ...]:
    """Return what of a condition makes an event when it changes; of Accepted, the names too."""
    words = (condition.message,) if condition.type is ConditionType.ACCEPTED else ()
    return condition.status, condition.reason, *words


def _is_news(condition: Condition) -> bool:
    if condition.status == UNKNOWN:
        return False
    return condition.type is not ConditionType.READY or condition.status == TRUE


def _note(condition: Condition) -> EventNote:
    reason = Reason(condition.reason)
    fine = condition.status != FALSE or reason in NORMAL
    type_: Literal["Normal", "Warning"] = (
        "Normal" if fine and reason not in NOT_NORMAL else "Warning"
    )
    return EventNote(type_, reason, condition.message[:EVENT_MESSAGE_MAX])
