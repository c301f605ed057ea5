"""Whether a service is what its manifest asks for, from the object alone: settled, or going on.

`kubectl wait` cannot ask this in one question, and never ends early for what was rejected. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from lumen_cluster.kinds import Raw
from lumen_manifest.conditions import NOT_AS_ASKED, READY_NEEDS, ConditionType, Reason
from lumen_manifest.spec.service_status import Condition, ModelServiceStatus

_UNREAD = (
    "The operator has not read this manifest yet. If that stays so, see whether it runs: "
    "kubectl get pods -A -l app.kubernetes.io/part-of=lumen"
)
_UNREADABLE = "Its status cannot be read here: use the `lumen` of the operator's version."
_DELETED = "It is being deleted: apply its manifest again if it is to stay."


Told = Mapping[ConditionType, Condition]


class Outlook(StrEnum):
    """How a service stands to the newest generation of its manifest."""

    READY = "ready"
    FAILED = "failed"
    GOING_ON = "going on"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a service: ready pods of those wanted, what is worst, and the outlook.

    `reason` is that of `kubectl get`, or of the condition that rejects the manifest; `message` is
    what stands behind it, and ends in what to do.
    """

    name: str
    ready: str
    reason: str
    message: str
    outlook: Outlook


def standing_of(raw: Raw) -> Standing:
    """Judge a LumenModelService as it is stored; never raises, whatever shape it has."""
    metadata = _mapping(raw, "metadata")
    name, generation = str(metadata.get("name", "")), metadata.get("generation")
    try:
        status = ModelServiceStatus.model_validate(_mapping(raw, "status"))
    except ValidationError:
        return Standing(name, "", "", _UNREADABLE, Outlook.GOING_ON)
    if metadata.get("deletionTimestamp"):
        return Standing(name, status.ready, status.reason, _DELETED, Outlook.FAILED)
    if not status.conditions or status.observed_generation != generation:
        # What it says is about another spec, and would be taken for this one's.
        return Standing(name, status.ready, "", _UNREAD, Outlook.GOING_ON)
    told = {each.type: each for each in status.conditions}
    rejection = _rejection(told)
    if rejection is not None:
        said = rejection.message
        return Standing(name, status.ready, rejection.reason, said, Outlook.FAILED)
    outlook = Outlook.READY if _is_settled(told, status.observed_generation) else Outlook.GOING_ON
    return Standing(name, status.ready, status.reason, _worst(told, status.reason), outlook)


def _rejection(told: Told) -> Condition | None:
    """Return the condition that says that nothing will come of the newest manifest by waiting."""
    accepted, ready = told.get(ConditionType.ACCEPTED), told.get(ConditionType.READY)
    progressing = told.get(ConditionType.PROGRESSING)
    if accepted is not None and accepted.status == "False":
        return accepted
    if progressing is not None and progressing.reason in NOT_AS_ASKED:
        return progressing
    return ready if ready is not None and ready.reason == Reason.SCALED_TO_ZERO else None


def _is_settled(told: Told, generation: int) -> bool:
    """Return whether it answers, and no pod is left of an earlier revision.

    What a condition says may be kept from before the change, until somebody could look anew.
    """
    ready, progressing = told.get(ConditionType.READY), told.get(ConditionType.PROGRESSING)
    needs = [told[each] for each in READY_NEEDS if each in told]
    return (
        ready is not None
        and ready.status == "True"
        and progressing is not None
        and progressing.reason == Reason.ROLLOUT_COMPLETE
        and all(each.observed_generation == generation for each in needs)
    )


def _worst(told: Told, column: str) -> str:
    """Return what is behind the column REASON, else what still changes; "" when all is well."""
    by_turns = (
        (ConditionType.READY, lambda each: each.status != "True"),
        (ConditionType.AVAILABLE, lambda _: bool(column)),
        (ConditionType.PROGRESSING, lambda each: each.reason != Reason.ROLLOUT_COMPLETE),
        (ConditionType.AUTOSCALING, lambda each: each.status != "True"),
    )
    return next(
        (told[type_].message for type_, says in by_turns if type_ in told and says(told[type_])), ""
    )


def _mapping(raw: Raw, key: str) -> Mapping[str, Any]:
    found = raw.get(key)
    return found if isinstance(found, Mapping) else {}
