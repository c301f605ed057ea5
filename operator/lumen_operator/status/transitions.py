"""Conditions as they are written, and the events of those that changed.

A condition's time is that of its last change of status; an event is posted when its status or its
reason changed, once, since the next observation has them already.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.spec.service_status import Condition
from lumen_operator.diagnose.finding import WAITING
from lumen_operator.rollout.progress import timestamp
from lumen_operator.status.statements import FALSE, TRUE, UNKNOWN, ConditionState, Statements

NORMAL = WAITING | {Reason.ROLLOUT_COMPLETE}
NOT_NORMAL = frozenset({Reason.ROLLED_BACK})
EVENT_MESSAGE_MAX = 1024
"""What events.k8s.io takes as a note."""


@dataclass(frozen=True, slots=True)
class EventNote:
    """One event to post about the service or pool; `reason` names a condition's reason."""

    type: Literal["Normal", "Warning"]
    reason: Reason
    message: str


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

    Becoming Ready covers all that became true with it, and being accepted covers how a new object
    begins: without a replica, rolling out. Ready that is lost is told by its causes.
    """
    known = {each.type: (each.status, each.reason) for each in before}
    notes = [
        _note(each)
        for each in now
        if known.get(each.type) != (each.status, each.reason) and _is_news(each)
    ]
    covering = {note.reason for note in notes} & {Reason.READY}
    if not known:
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
