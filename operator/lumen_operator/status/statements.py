"""A statement: what one condition says, without its time; and which of them decides Ready."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lumen_manifest.conditions import NOT_AS_ASKED, READY_NEEDS, ConditionType, Reason
from lumen_operator.diagnose.finding import Finding

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"

_NO_CAUSE = frozenset({Reason.UNKNOWN, Reason.NO_REPLICA_READY})
"""What a condition says that waits for a pod, and does not know why there is none."""


@dataclass(frozen=True, slots=True)
class ConditionState:
    """One condition without its time; a `generation` other than 0 is that of an earlier spec.

    `because` is what holds back part of what is true all the same.
    """

    status: str
    reason: Reason
    message: str
    generation: int = 0
    because: Reason | None = None


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


def ready_of(found: Statements) -> ConditionState:
    """State Ready: true when all it needs are, else the first false one's reason and message.

    What is false goes before what is unknown: it is the cause.
    """
    needs = [found[each] for each in READY_NEEDS if each in found]
    for status in (FALSE, UNKNOWN):
        for each in needs:
            if each.status == status:
                return ConditionState(FALSE, each.reason, each.message)
    if any(each.because is not None for each in needs):
        return holds(Reason.READY, "The service answers, with fewer pods than were asked for.")
    return holds(Reason.READY)


def column_of(found: Statements) -> str:
    """Return the one word that `kubectl get` shows of what is not as it was asked for.

    A service that answers may do so with too few pods, or as another revision than the manifest's.
    """
    ready, progressing = found[ConditionType.READY], found.get(ConditionType.PROGRESSING)
    if ready.status != TRUE:
        return str(ready.reason)
    held = next((each.because for each in found.values() if each.because is not None), None)
    if held is not None:
        return str(held)
    back = progressing is not None and progressing.reason in NOT_AS_ASKED
    return str(progressing.reason) if back and progressing is not None else ""


def pointing_at_cause(found: Statements, *, pods: Iterable[object]) -> Statements:
    """Let conditions that wait for the first pod name the one that says why there is none.

    Waiting does not help where something has to be done first.
    """
    if any(True for _ in pods):
        return found
    cause = next((type_ for type_ in READY_NEEDS if _is_cause(found.get(type_))), None)
    if cause is None:
        return found
    why = f"There is no pod, and {cause} says why: {found[cause].reason}."
    return {
        type_: replace(each, message=why)
        if type_ is not cause and each.status != TRUE and each.reason in _NO_CAUSE
        else each
        for type_, each in found.items()
    }


def _is_cause(state: ConditionState | None) -> bool:
    return state is not None and state.status == FALSE and state.reason not in _NO_CAUSE
