"""What shall run, and how its pods replace the others: the decision that everything else reads."""

from dataclasses import dataclass
from datetime import datetime

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import STABLE_VARIANT
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.context import Pinned
from lumen_manifest.spec.service_status import ProgressStatus
from lumen_operator.diagnose.finding import Finding
from lumen_operator.observe.views import PodView, ReplicaSetView, VariantView


@dataclass(frozen=True, slots=True)
class Generations:
    """`fresh` pods have the revision and the newest template; `old` are all others.

    Both hold pods that may still run, the oldest first. `evicted` are fresh ones that are over.
    """

    fresh: tuple[PodView, ...]
    old: tuple[PodView, ...]
    evicted: tuple[PodView, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """What shall run as one Deployment: a service on a pool, as one of its revisions.

    `weight` is its share of the service's calls, in percent.
    """

    name: str
    service: LumenModelService
    pool: LumenNodePool
    revision: str
    weight: int = 100


@dataclass(frozen=True, slots=True)
class Rollout:
    """The decision about one variant.

    `current` is the spec's own revision, `stable` the last that became Ready. `back` says why the
    current revision does not run, `failed` why a rollout that may not go back is given up on.
    `findings` are those of its own pods, `old_findings` of the ones that they replace.
    `missing` counts the pods among `replicas` for which the pool has no device. `until` is when the
    deadline passes if nothing moves, `look_again` when patience with the scheduler ends.
    """

    target: Variant
    current: str
    stable: str
    pods: Generations
    findings: tuple[Finding, ...] = ()
    old_findings: tuple[Finding, ...] = ()
    progress: ProgressStatus | None = None
    pinned: Pinned | None = None
    rejected: str = ""
    back: Finding | None = None
    failed: Finding | None = None
    runs: bool = False
    replicas: int = 0
    surge: bool = True
    missing: int = 0
    until: datetime | None = None
    look_again: datetime | None = None


def variants_of(service: LumenModelService, pool: LumenNodePool) -> tuple[Variant, ...]:
    """Return the variants that a service runs as: one, which has every call."""
    return (Variant(STABLE_VARIANT, service, pool, service.revision_name),)


def newest_replica_set(seen: VariantView) -> ReplicaSetView | None:
    """Return the ReplicaSet of the Deployment's present template, as far as it was made."""
    owner = seen.deployment.uid if seen.deployment else ""
    mine = (each for each in seen.replica_sets if each.owner == owner)
    return max(mine, key=lambda each: (each.rollout, each.name), default=None)


def forbidden_pods(seen: VariantView) -> str:
    """Return why pods cannot be created, empty when they can."""
    newest = newest_replica_set(seen)
    said = newest.forbidden if newest is not None else ""
    return said or (seen.deployment.forbidden if seen.deployment is not None else "")


def generations(seen: VariantView, revision: str) -> Generations:
    """Tell a revision's pods from the others."""
    newest = newest_replica_set(seen)
    template = newest.template_hash if newest and newest.revision == revision else None
    fresh: list[PodView] = []
    old: list[PodView] = []
    over: list[PodView] = []
    for pod in seen.pods:
        mine = pod.revision == revision and template in {None, pod.template_hash}
        if pod.over:
            over += [pod] if mine else []
        else:
            (fresh if mine else old).append(pod)
    return Generations(tuple(fresh), tuple(old), tuple(over))


def staying(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """Return the pods that nobody has told to end."""
    return tuple(pod for pod in pods if not pod.terminating)
