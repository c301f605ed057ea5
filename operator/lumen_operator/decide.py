"""What to do about one service or one pool: pure, from observation alone.

`reconcile` carries the decision out. The same observation gives the same decision, and once it is
carried out there is nothing left to write. The checks say whether a spec can be carried out, in the
order in which they are told: `BLOCKING` findings leave the children as they are; with `ADVISORY`
ones the service runs all the same, and the condition Accepted says what is wrong.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lumen_cluster.kinds import Ref
from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import SERVER_CONTAINER
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.context import Manifest
from lumen_manifest.spec.service_status import ModelServiceStatus
from lumen_operator.children.desired import Comparison, Memory, OperatorContext, to_delete, wanted
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.diagnose.nodes import is_being_set_up, not_set_up_by
from lumen_operator.diagnose.pods import Case, stalled_since
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Observed, ObservedPool
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.observe.views import PodAddress, PodView
from lumen_operator.rollout.model import Rollout, variants_of
from lumen_operator.rollout.plan import plan_rollout
from lumen_operator.rollout.progress import progressed_at
from lumen_operator.status.conditions import conditions_of, events_of
from lumen_operator.status.events import EventNote
from lumen_operator.status.external import elsewhere, external_status, pages_to_ask
from lumen_operator.status.pool import pool_counts, pool_statements
from lumen_operator.status.service import attestation_from, blocked_status, service_status

Check = Callable[[Observed], Finding | None]
ACCEPTED = ConditionType.ACCEPTED

SOONEST_S = 1.0
SET_UP_AGAIN = timedelta(seconds=15)
"""How often the events of a pod are asked for that its node cannot set up."""
FOREIGN_S = (2.0, 30.0)
"""How soon, and how late at most, an object in the way of a child is looked for again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written, in this order: `apply`, `delete`, `events`, `status`.

    `apply` has only manifests that are not contained in what is observed. `status` is the whole
    status in the API's spelling, None when it is what is stored. `poll` names the pods to ask for
    a report until the next decision. `requeue_after_s` is when time alone can change the decision.
    `look_first` asks to look for children that are not observed before anything is written: an
    object of somebody else's was in the way, and watches by our label may not tell of it.
    """

    apply: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[EventNote, ...] = ()
    poll: tuple[PodAddress, ...] = ()
    requeue_after_s: float | None = None
    look_first: bool = False


def decide_service(
    observed: Observed,
    context: OperatorContext,
    now: datetime,
    memory: Memory | None = None,
    refused: Finding | None = None,
) -> Decision:
    """Decide about a service. Never raises: what cannot be done is said in the status.

    `memory` is that of this one service; it spares work and changes no decision. `refused` is what
    the API server said to what was decided before: it changes the status, and nothing else.
    """
    at = replace(observed, now=now)
    problem = first_of(BLOCKING, at)
    service = at.service
    if problem is not None or service is None:
        assert problem is not None, "a spec that cannot be read has a finding"
        return _decide_blocked(at, problem)
    if service.spec.external is not None:
        return _decide_external(at, service, context.external_networks, refused)
    variants = variants_of(service, at.pools[service.spec.pool or ""])
    rollouts = [plan_rollout(at, each) for each in variants]
    compared = (memory or Memory()).compare(at.children, wanted(at, rollouts, context))
    if compared.foreign is not None:
        return decide_foreign(at, compared.foreign)
    return _decide_deployed(at, rollouts, compared, refused)


def decide_foreign(observed: Observed, found: Finding) -> Decision:
    """Decide about a service whose child's name is taken: nothing is written but the status.

    What the watches do not tell of is looked for again, less and less often.
    """
    blocked = _decide_blocked(observed, found)
    return replace(blocked, requeue_after_s=foreign_again_in_s(observed))


def decide_pool(observed: ObservedPool, now: datetime) -> Decision:
    """Decide about a pool: its status."""
    generation = decode.number(decode.mapping(observed.raw, "metadata"), "generation")
    before = observed.status.conditions
    conditions = conditions_of(pool_statements(observed), before, generation, now)
    status = pool_counts(observed).model_copy(
        update={"observed_generation": generation, "conditions": conditions}
    )
    if status == observed.status:
        return Decision()
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Decision(status=written, events=events_of(conditions, before))


def decide_default_pools(
    existing: Collection[str], wanted: Collection[LumenNodePool]
) -> tuple[Manifest, ...]:
    """Return the default pools to create: those whose name is not taken."""
    return tuple(
        {
            "apiVersion": pool.api_version,
            "kind": pool.kind,
            "metadata": {"name": pool.name},
            "spec": pool.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }
        for pool in wanted
        if pool.name not in existing
    )


def _decide_blocked(observed: Observed, problem: Finding) -> Decision:
    return Decision(**_told(observed, blocked_status(observed, problem)))


def _decide_external(
    observed: Observed,
    service: LumenModelService,
    networks: ExternalNetworks,
    refused: Finding | None,
) -> Decision:
    at = elsewhere(observed, service, networks)
    problem = refused or first_of(ADVISORY, observed)
    return Decision(
        # What ran before runs on while the new address cannot be called.
        delete=to_delete(observed, (), (), ()) if at.refused is None else (),
        poll=tuple(pages_to_ask(observed, at)),
        **_told(observed, external_status(observed, service, at, problem)),
    )


def _decide_deployed(
    observed: Observed,
    rollouts: Sequence[Rollout],
    compared: Comparison,
    refused: Finding | None,
) -> Decision:
    problem = refused or first_of(ADVISORY, observed) or compared.taken
    # Applying over another manager ends the conflict, and the echo of our own write is no news.
    overrules = compared.taken is not None and bool(compared.apply)
    return Decision(
        apply=compared.apply,
        delete=to_delete(observed, compared.rendered, compared.apply, rollouts),
        poll=tuple(pods_to_ask(observed)),
        requeue_after_s=SOONEST_S if overrules else requeue_after_s(observed, rollouts),
        look_first=conflict_told_at(observed) is not None,
        **_told(observed, service_status(observed, rollouts, problem)),
    )


def _told(observed: Observed, status: ModelServiceStatus) -> dict[str, Any]:
    """Return the status to write, if it is another one, and the events of its transitions."""
    if status == observed.status:
        return {"status": None, "events": ()}
    return {
        "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        "events": events_of(status.conditions, observed.status.conditions),
    }


def spec_invalid(observed: Observed) -> Finding | None:
    """The spec breaks a rule that the API server did not check."""
    if observed.service is not None:
        return None
    return find(ACCEPTED, Reason.INVALID_SPEC, observed.problem, final=True)


def pool_unknown(observed: Observed) -> Finding | None:
    """spec.pool names no pool, or one whose own spec cannot be used."""
    name = observed.service.spec.pool if observed.service else None
    if name is None or name in observed.pools:
        return None
    said = f"There is no LumenNodePool {name}, or its spec cannot be used."
    return find(ACCEPTED, Reason.UNKNOWN_POOL, said, pool=name)


def runtime_not_on_pool(observed: Observed) -> Finding | None:
    """The pool has no image for the runtime."""
    service = observed.service
    pool = observed.pools.get(service.spec.pool or "") if service else None
    if service is None or pool is None or service.spec.model.runtime in pool.spec.runtimes:
        return None
    said = f"Pool {pool.name} does not run {service.spec.model.runtime}."
    runtimes = ", ".join(pool.spec.runtimes)
    return find(ACCEPTED, Reason.RUNTIME_NOT_ON_POOL, said, runtimes=runtimes)


def default_taken(observed: Observed) -> Finding | None:
    """An older service of the family is the namespace's default already."""
    service = observed.service
    other = observed.callers.older_default(service.name) if service else ""
    if service is None or not other:
        return None
    said = (
        f"{other} is the default for {service.spec.family} in this namespace already, and older. "
        f"{service.name} answers under its own name."
    )
    return find(ACCEPTED, Reason.DEFAULT_CONFLICT, said, other=other)


def name_taken(observed: Observed) -> Finding | None:
    """Callers who say a name that the service asks for mean another one."""
    lost = tuple(observed.callers.lost(observed.key.name)) if observed.service else ()
    if not lost:
        return None
    said = " ".join(each.said for each in lost)
    return find(ACCEPTED, Reason.NAME_CONFLICT, said, name=", ".join(each.name for each in lost))


BLOCKING: tuple[Check, ...] = (spec_invalid, pool_unknown, runtime_not_on_pool)
ADVISORY: tuple[Check, ...] = (default_taken, name_taken)


def first_of(checks: Iterable[Check], observed: Observed) -> Finding | None:
    """Return the first finding of these checks."""
    return next((found for check in checks if (found := check(observed))), None)


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


def conflict_told_at(observed: Observed) -> datetime | None:
    """Return since when the status says FieldConflict; None while it does not."""
    for each in observed.status.conditions:
        if each.type is ConditionType.ACCEPTED and each.reason == Reason.FIELD_CONFLICT:
            return decode.parse_time(each.last_transition_time) or observed.now
    return None


def foreign_again_in_s(observed: Observed) -> float:
    """Return when to look again for an object in the way: the longer it stands, the later."""
    told_at = conflict_told_at(observed)
    stood_s = (observed.now - told_at).total_seconds() if told_at is not None else 0.0
    soonest, latest = FOREIGN_S
    return min(latest, max(soonest, stood_s / 4))


def pods_to_ask_about(observed: Observed) -> Iterator[PodView]:
    """Name the pods that should have been set up by now: their events say what holds them."""
    for pod in observed.pods:
        if is_being_set_up(pod) and not_set_up_by(pod, observed.now) <= observed.now:
            yield pod


def requeue_after_s(observed: Observed, rollouts: Iterable[Rollout]) -> float | None:
    """Return when a deadline passes: that of a rollout, or that of a pod that stands still."""
    moments = [moment for rollout in rollouts for moment in _deadlines(observed, rollout)]
    ahead = [s for each in moments if (s := (each - observed.now).total_seconds()) > 0]
    return max(SOONEST_S, min(ahead)) if ahead else None


def _deadlines(observed: Observed, rollout: Rollout) -> Iterator[datetime]:
    target, deadline = rollout.target, rollout.until if rollout.failed is None else None
    yield from (each for each in (deadline, rollout.look_again) if each is not None)
    limit = timedelta(seconds=target.service.spec.rollout.stall_seconds)
    moved = progressed_at(rollout.progress)
    case = Case(observed, target.service, target.pool, moved, observed.now)
    for pod in rollout.pods.fresh:
        if is_being_set_up(pod):
            due = not_set_up_by(pod, observed.now)
            yield due if due > observed.now else observed.now + SET_UP_AGAIN
        container = pod.running_container
        since = stalled_since(case, pod, container) if container is not None else None
        if since is not None:
            yield since + limit
