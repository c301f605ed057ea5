"""How many pods serve of how many, and what holds the others: the condition Available. Pure.

One pod that serves makes a service available, and does not end the search for what holds the
others. Fewer than were asked for, for want of time alone, are not a finding: they start, or a drain
moves them.
"""

from collections.abc import Iterable, Sequence

from lumen_manifest.conditions import ConditionType, Reason
from lumen_operator.diagnose.finding import MESSAGE_MAX, Finding, counted, find, worst
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout
from lumen_operator.status.statements import TRUE, ConditionState, fails, holds

AVAILABLE = ConditionType.AVAILABLE


def pods_wanted(rollouts: Iterable[Rollout]) -> int:
    """Return how many pods the variants shall have together."""
    return sum(each.target.service.spec.replicas for each in rollouts)


def some_serve(observed: Observed, rollouts: Sequence[Rollout]) -> ConditionState:
    """State Available of a service some of whose pods serve: of how many, and what is held."""
    serving, wanted = sum(pod.serves for pod in observed.pods), pods_wanted(rollouts)
    said = how_many(serving, wanted)
    held = what_holds_the_others(rollouts) if serving < wanted else None
    if held is None:
        return holds(Reason.MINIMUM_REPLICAS_AVAILABLE, said)
    message = f"{said} {held.reason}: {held.message}"[:MESSAGE_MAX]
    return ConditionState(TRUE, Reason.DEGRADED, message, because=held.reason)


def none_serves(
    observed: Observed, rollouts: Sequence[Rollout], found: Finding | None
) -> ConditionState:
    """State Available of a service without a pod that serves; `found` is what its pods say."""
    name = observed.key.name
    if pods_wanted(rollouts) == 0:
        return fails(find(AVAILABLE, Reason.SCALED_TO_ZERO, service=name))
    return fails(found or find(AVAILABLE, Reason.NO_REPLICA_READY, service=name))


def what_holds_the_others(rollouts: Iterable[Rollout]) -> Finding | None:
    """Return the worst finding of any pod; None while those that do not serve merely start.

    Pods of the target speak before those that it replaces.
    """
    each = list(rollouts)
    found = worst(
        (*(f for r in each for f in r.findings), *(f for r in each for f in r.old_findings))
    )
    return None if found is None or found.waits else found


def how_many(serving: int, wanted: int) -> str:
    """Say how many pods serve."""
    verb = "serves" if 1 in {serving, wanted} else "serve"
    return f"{serving} of {counted(wanted, 'pod')} {verb}."
