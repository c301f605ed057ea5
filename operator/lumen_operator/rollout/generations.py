"""The pods of a rollout: those of the template that shall run, and those before it."""

from dataclasses import dataclass

from lumen_operator.observe.gather import Observed
from lumen_operator.observe.views import PodView, ReplicaSetView


@dataclass(frozen=True, slots=True)
class Generations:
    """`fresh` pods have the revision and the newest template; `old` are all others.

    Both hold pods that may still run, the oldest first. `evicted` are fresh ones that are over.
    """

    fresh: tuple[PodView, ...]
    old: tuple[PodView, ...]
    evicted: tuple[PodView, ...]


def newest_replica_set(observed: Observed) -> ReplicaSetView | None:
    """Return the ReplicaSet of the Deployment's present template, as far as it was made."""
    owner = observed.deployment.uid if observed.deployment else ""
    mine = (each for each in observed.replica_sets if each.owner == owner)
    return max(mine, key=lambda each: (each.rollout, each.name), default=None)


def generations(observed: Observed, revision: str) -> Generations:
    """Tell a revision's pods from the others."""
    newest = newest_replica_set(observed)
    template = newest.template_hash if newest and newest.revision == revision else None
    fresh: list[PodView] = []
    old: list[PodView] = []
    over: list[PodView] = []
    for pod in observed.pods:
        mine = pod.revision == revision and template in {None, pod.template_hash}
        if pod.over:
            over += [pod] if mine else []
        else:
            (fresh if mine else old).append(pod)
    return Generations(tuple(fresh), tuple(old), tuple(over))


def staying(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """Return the pods that nobody has told to end."""
    return tuple(pod for pod in pods if not pod.terminating)
