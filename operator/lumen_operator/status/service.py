"""The whole status of a service, computed once from what is observed and decided.

What ready servers say of themselves (model, tasks, runtime, the space of the vectors) is kept while
no server can be asked, since it was true of the pods that were.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.names import (
    endpoint_of,
    selector_labels,
    selector_text,
    variant_name,
)
from lumen_manifest.pod_reports import Attestation, attestation_of, runtime_status
from lumen_manifest.spec.service_status import FilesStatus, ModelServiceStatus, RouteStatus
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout, Variant
from lumen_operator.rollout.pins import serving_page, space_of, verified_by
from lumen_operator.status.availability import how_many, pods_wanted
from lumen_operator.status.conditions import conditions_of, kept, service_statements
from lumen_operator.status.statements import (
    ConditionState,
    Statements,
    column_of,
    fails,
    holds,
    pointing_at_cause,
    ready_of,
    unknown,
)


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
        found[ConditionType.AVAILABLE] = _available(observed, status, wanted)
    told = dict(pointing_at_cause(found, pods=observed.pods))
    told[ConditionType.READY] = ready_of(told)
    return with_statements(observed, status, told)


def with_statements(
    observed: Observed, status: ModelServiceStatus, found: Statements
) -> ModelServiceStatus:
    """Add the conditions, and the one reason that `kubectl get` shows."""
    return status.model_copy(
        update={
            "observed_generation": observed.generation,
            "reason": column_of(found),
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


def _available(observed: Observed, status: ModelServiceStatus, wanted: int) -> ConditionState:
    if status.ready_replicas:
        return holds(Reason.MINIMUM_REPLICAS_AVAILABLE, how_many(status.ready_replicas, wanted))
    name = observed.key.name
    finding = find(ConditionType.AVAILABLE, Reason.NO_REPLICA_READY, service=name)
    return fails(finding)


def attestation_from(observed: Observed, uid: str) -> Attestation | None:
    """Return what the server of a pod attested; None before it serves."""
    page = serving_page(observed, uid)
    return attestation_of(page) if page else None


def spokesman(observed: Observed, rollouts: Iterable[Rollout]) -> Attestation | None:
    """Return what the oldest serving pod of the first target attested, else any serving pod."""
    for rollout in rollouts:
        for pod in (*rollout.pods.fresh, *rollout.pods.old):
            if pod.serves and (said := attestation_from(observed, pod.uid)) is not None:
                return said
    return None


def with_attestation(status: ModelServiceStatus, said: Attestation | None) -> ModelServiceStatus:
    """Write down what a server said; without one, what was known stays."""
    if said is None:
        return status
    return status.model_copy(
        update={
            "tasks": said.tasks,
            "model_id": said.model_id,
            "embedding_dim": said.embedding_dim,
            "runtime": runtime_status(said),
        }
    )


def files_of(observed: Observed, rollout: Rollout) -> FilesStatus | None:
    """Return the files that every pod of the target fetches, and how far fetching is."""
    before = observed.status.files or FilesStatus()
    pinned = rollout.pinned
    if pinned is None:
        empty = FilesStatus(progress=rollout.progress)
        return empty if rollout.progress is not None else None
    verified = (verified_by(observed, pod) for pod in rollout.pods.fresh)
    seen = next((each for each in verified if each and each.digest == pinned.digest), None)
    before = before if before.digest == pinned.digest else FilesStatus()
    return FilesStatus(
        revision=pinned.revision,
        digest=pinned.digest,
        bytes=seen.file_bytes if seen else before.bytes,
        license=(seen.license or None) if seen else before.license,
        progress=rollout.progress,
    )


def space_to_serve(observed: Observed, rollout: Rollout) -> str:
    """Return the embedding space that the router serves: all pods change over at once.

    The target's space takes over when as many of its pods serve as of the present one's, so that
    the vectors' meaning changes once, and never back and forth.
    """
    now = observed.status.embedding_space
    goal = rollout.pinned.embedding_space if rollout.pinned is not None else ""
    if not goal or goal == now:
        return now
    if not now or not _may_change(rollout):
        return now or goal
    serving = Counter(space_of(observed, pod) for pod in observed.pods if pod.serves)
    return goal if serving[goal] >= max(1, serving[now]) else now


def _may_change(rollout: Rollout) -> bool:
    """Return whether the target may bring another space: by leave, as stable, or at first."""
    allowed = rollout.target.service.spec.rollout.allow_reindex
    return allowed or rollout.stable in {"", rollout.target.revision}
