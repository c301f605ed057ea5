"""The whole status of a service, computed once from what is observed and decided."""

from collections.abc import Sequence

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import ModelServiceStatus
from lumen_manifest.names import (
    endpoint_of,
    selector_labels,
    selector_text,
    variant_name,
)
from lumen_manifest.spec.service_status import RouteStatus
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout, Variant
from lumen_operator.status.attested import files_of, space_to_serve, spokesman, with_attestation
from lumen_operator.status.statements import (
    TRUE,
    ConditionState,
    Statements,
    fails,
    holds,
    pods_wanted,
    ready_of,
    service_statements,
    unknown,
)
from lumen_operator.status.transitions import conditions_of, kept


def service_status(
    observed: Observed, rollouts: Sequence[Rollout], problem: Finding | None
) -> ModelServiceStatus:
    """Say all of a service that runs on pools.

    Space, files and revisions are those of its first variant, the stable one.
    """
    stable = rollouts[0]
    name = stable.target.service.name
    status = with_attestation(observed.status, spokesman(observed, rollouts))
    space = space_to_serve(observed, stable)
    status = status.model_copy(
        update={
            **_counts(observed, pods_wanted(rollouts)),
            "endpoint": endpoint_of(variant_name(name), observed.key.namespace),
            "selector": selector_text(selector_labels(name)),
            "embedding_space": space,
            "files": files_of(observed, stable),
            "routes": tuple(_route(each.target, status, space) for each in rollouts),
            "stable_revision": stable.stable,
            "rejected_revision": stable.rejected,
        }
    )
    return with_statements(observed, status, service_statements(observed, rollouts, problem))


def blocked_status(observed: Observed, problem: Finding) -> ModelServiceStatus:
    """Say that the spec cannot be carried out; what runs already runs on and is counted."""
    found = {**dict.fromkeys(_NEEDED, unknown()), **kept(observed.status.conditions)}
    found[ConditionType.ACCEPTED] = fails(problem)
    status, spec = observed.status, decode.mapping(observed.raw, "spec")
    if "external" not in spec:
        read = observed.service.spec.replicas if observed.service is not None else None
        wanted = decode.number(spec, "replicas") if read is None else read
        status = status.model_copy(update=_counts(observed, wanted))
        found[ConditionType.AVAILABLE] = _available(observed, status)
    found[ConditionType.READY] = ready_of(found)
    return with_statements(observed, status, found)


def with_statements(
    observed: Observed, status: ModelServiceStatus, found: Statements
) -> ModelServiceStatus:
    """Add the conditions, and the one reason that `kubectl get` shows."""
    ready = found[ConditionType.READY]
    return status.model_copy(
        update={
            "observed_generation": observed.generation,
            "reason": "" if ready.status == TRUE else str(ready.reason),
            "conditions": conditions_of(
                found, observed.status.conditions, observed.generation, observed.now
            ),
        }
    )


_NEEDED = (ConditionType.RESOURCES_READY, ConditionType.DEVICE_READY)


def _counts(observed: Observed, wanted: int) -> dict[str, object]:
    serving = sum(pod.serves for pod in observed.pods)
    return {
        "replicas": sum(not pod.over and not pod.terminating for pod in observed.pods),
        "ready_replicas": serving,
        "ready": f"{serving}/{wanted}",
    }


def _route(variant: Variant, status: ModelServiceStatus, space: str) -> RouteStatus:
    return RouteStatus(
        variant=variant.name,
        service=variant_name(variant.service.name, variant.name),
        weight=variant.weight,
        tasks=status.tasks,
        embedding_space=space,
    )


def _available(observed: Observed, status: ModelServiceStatus) -> ConditionState:
    if status.ready_replicas:
        return holds(Reason.MINIMUM_REPLICAS_AVAILABLE, f"{status.ready} pods serve.")
    name = observed.key.name
    finding = find(ConditionType.AVAILABLE, Reason.NO_REPLICA_READY, service=name)
    return fails(finding)
