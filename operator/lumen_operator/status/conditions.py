"""Conditions from findings: what is true, and what is not with its reason; and their events.

A condition's time is that of its last change of status; an event is posted when its status or its
reason changed, once, since the next observation has them already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lumen_manifest.conditions import READY_NEEDS, ConditionType, Reason
from lumen_manifest.pod_reports import attestation_of
from lumen_manifest.spec.service_status import Condition
from lumen_operator.diagnose.finding import MESSAGE_MAX, WAITING, Finding, find, worst
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout, forbidden_pods, staying
from lumen_operator.rollout.pins import verified_by
from lumen_operator.rollout.progress import timestamp
from lumen_operator.status.events import EventNote

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
NORMAL = WAITING | {Reason.ROLLOUT_COMPLETE}
NOT_NORMAL = frozenset({Reason.ROLLED_BACK})
EVENT_MESSAGE_MAX = 1024
"""What events.k8s.io takes as a note."""


@dataclass(frozen=True, slots=True)
class ConditionState:
    """One condition without its time; a `generation` other than 0 is that of an earlier spec."""

    status: str
    reason: Reason
    message: str
    generation: int = 0


Statements = Mapping[ConditionType, ConditionState]


def holds(reason: Reason, said: str = "") -> ConditionState:
    """State that a condition is true."""
    return ConditionState(TRUE, reason, said or reason.meaning)


def fails(finding: Finding) -> ConditionState:
    """State that a condition is false."""
    return ConditionState(FALSE, finding.reason, finding.message)


def unknown(reason: Reason = Reason.UNKNOWN, said: str = "") -> ConditionState:
    """State that nobody can say yet."""
    return ConditionState(UNKNOWN, reason, said or f"{reason.meaning} {reason.remedy()}".strip())


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
        ConditionType.PROGRESSING: _progressing(observed, rollouts),
    }
    if rollouts[0].target.service.spec.autoscaling is not None:
        found[ConditionType.AUTOSCALING] = _autoscaling(observed)
    return {**found, ConditionType.READY: ready_of(found)}


def accepted(observed: Observed) -> ConditionState:
    """State that the spec can be carried out, and whom callers reach by which names.

    A name that came from another service, or went to one, is so a change that is told.
    """
    names = ", ".join(observed.callers.held(observed.key.name))
    return holds(Reason.ACCEPTED, f"{Reason.ACCEPTED.meaning} Callers reach it as {names}.")


def pods_wanted(rollouts: Iterable[Rollout]) -> int:
    """Return how many pods the variants shall have together."""
    return sum(each.target.service.spec.replicas for each in rollouts)


def ready_of(found: Statements) -> ConditionState:
    """State Ready: true when all it needs are, else the first false one's reason and message.

    What is false goes before what is unknown: it is the cause.
    """
    needs = [found[each] for each in READY_NEEDS if each in found]
    for status in (FALSE, UNKNOWN):
        for each in needs:
            if each.status == status:
                return ConditionState(FALSE, each.reason, each.message)
    return holds(Reason.READY)


def _of_pods(
    observed: Observed, rollouts: Sequence[Rollout]
) -> dict[ConditionType, ConditionState]:
    serving = [pod for pod in observed.pods if pod.serves]
    if serving:
        said = f"{len(serving)} of {pods_wanted(rollouts)} pods serve."
        return {
            ConditionType.RESOURCES_READY: holds(Reason.VERIFIED),
            ConditionType.DEVICE_READY: _attested(observed, rollouts),
            ConditionType.AVAILABLE: holds(Reason.MINIMUM_REPLICAS_AVAILABLE, said),
        }
    return {
        ConditionType.RESOURCES_READY: _resources(observed, rollouts),
        ConditionType.DEVICE_READY: _first(rollouts, ConditionType.DEVICE_READY) or unknown(),
        ConditionType.AVAILABLE: _available(observed, rollouts),
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
    found = _first(rollouts, ConditionType.RESOURCES_READY)
    if found is not None:
        return found
    fresh = (pod for each in rollouts for pod in each.pods.fresh)
    if any(verified_by(observed, pod) is not None for pod in fresh):
        return holds(Reason.VERIFIED)
    return unknown()


def _first(rollouts: Iterable[Rollout], type_: ConditionType) -> ConditionState | None:
    every = (finding for each in rollouts for finding in each.findings)
    found = worst(finding for finding in every if finding.condition is type_)
    return fails(found) if found is not None else None


def _available(observed: Observed, rollouts: Sequence[Rollout]) -> ConditionState:
    at, name = ConditionType.AVAILABLE, observed.key.name
    if pods_wanted(rollouts) == 0:
        return fails(find(at, Reason.SCALED_TO_ZERO, service=name))
    for each in rollouts:
        forbidden = forbidden_pods(observed.variant(each.target.name))
        if forbidden and not staying(each.pods.fresh):
            return fails(find(at, Reason.PODS_FORBIDDEN, forbidden, remedy=_admitting(forbidden)))
    return _first(rollouts, at) or fails(find(at, Reason.NO_REPLICA_READY, service=name))


def _admitting(said: str) -> str | None:
    """Say what admits pods that a Pod Security level keeps out; None for a quota or a limit."""
    if "PodSecurity" not in said:
        return None
    return (
        "Label the namespace with a Pod Security level that admits what the message names "
        "(pod-security.kubernetes.io/enforce), or use a pool that needs less."
    )


def _progressing(observed: Observed, rollouts: Iterable[Rollout]) -> ConditionState:
    """Tell of the first variant that went back, else that failed, else that is replaced."""
    told = min(rollouts, key=lambda each: (each.back is None, each.failed is None, not each.runs))
    if told.back is not None:
        return ConditionState(TRUE, told.back.reason, told.back.message)
    if told.failed is not None:
        return fails(told.failed)
    if told.runs:
        return _rolling_out(observed, told)
    return ConditionState(FALSE, Reason.ROLLOUT_COMPLETE, Reason.ROLLOUT_COMPLETE.meaning)


def _rolling_out(observed: Observed, rollout: Rollout) -> ConditionState:
    serving = sum(pod.serves for pod in rollout.pods.fresh)
    said = f"Revision {rollout.target.revision}: {serving} of {rollout.replicas} pods serve."
    forbidden = forbidden_pods(observed.variant(rollout.target.name))
    holds_it = worst(rollout.findings)
    why = holds_it.message if holds_it is not None else forbidden
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
