"""What to do about one service or one pool: pure, from observation alone.

`reconcile` carries the decision out. The same observation gives the same decision, and once it is
carried out there is nothing left to write.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lumen_cluster.kinds import Ref
from lumen_manifest.model_service import LumenModelService, ModelServiceStatus
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.context import Manifest
from lumen_operator.children.checks import ADVISORY, BLOCKING, first_of
from lumen_operator.children.comparison import Comparison, Memory
from lumen_operator.children.plan import OperatorContext, to_delete, wanted
from lumen_operator.diagnose.finding import Finding
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Observed, ObservedPool
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.observe.views import PodAddress
from lumen_operator.polling.plan import (
    SOONEST_S,
    conflict_told_at,
    foreign_again_in_s,
    pods_to_ask,
    requeue_after_s,
)
from lumen_operator.rollout.model import Rollout, variants_of
from lumen_operator.rollout.plan import plan_rollout
from lumen_operator.status.external import elsewhere, external_status, pages_to_ask
from lumen_operator.status.pool import pool_counts, pool_statements
from lumen_operator.status.service import blocked_status, service_status
from lumen_operator.status.transitions import EventNote, conditions_of, events_of

__all__ = [
    "Decision",
    "EventNote",
    "OperatorContext",
    "decide_default_pools",
    "decide_foreign",
    "decide_pool",
    "decide_service",
]


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
    observed: Observed, context: OperatorContext, now: datetime, memory: Memory | None = None
) -> Decision:
    """Decide about a service. Never raises: what cannot be done is said in the status.

    `memory` is that of this one service; it spares work and changes no decision.
    """
    at = replace(observed, now=now)
    problem = first_of(BLOCKING, at)
    service = at.service
    if problem is not None or service is None:
        assert problem is not None, "a spec that cannot be read has a finding"
        return _decide_blocked(at, problem)
    if service.spec.external is not None:
        return _decide_external(at, service, context.external_networks)
    variants = variants_of(service, at.pools[service.spec.pool or ""])
    rollouts = [plan_rollout(at, each) for each in variants]
    compared = (memory or Memory()).compare(at.children, wanted(at, rollouts, context))
    if compared.foreign is not None:
        return decide_foreign(at, compared.foreign)
    return _decide_deployed(at, rollouts, compared)


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
    observed: Observed, service: LumenModelService, networks: ExternalNetworks
) -> Decision:
    at = elsewhere(observed, service, networks)
    return Decision(
        # What ran before runs on while the new address cannot be called.
        delete=to_delete(observed, (), (), ()) if at.refused is None else (),
        poll=tuple(pages_to_ask(observed, at)),
        **_told(observed, external_status(observed, service, at, first_of(ADVISORY, observed))),
    )


def _decide_deployed(
    observed: Observed, rollouts: Sequence[Rollout], compared: Comparison
) -> Decision:
    problem = first_of(ADVISORY, observed) or compared.taken
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
