"""What shall run, and how its pods replace the others: the decision that everything else reads."""

from dataclasses import dataclass
from datetime import datetime

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.context import Pinned
from lumen_manifest.spec.service_status import ProgressStatus
from lumen_operator.diagnose.finding import Finding
from lumen_operator.rollout.generations import Generations


@dataclass(frozen=True, slots=True)
class RolloutTarget:
    """What shall run: a service on its pool, as one of its revisions."""

    service: LumenModelService
    pool: LumenNodePool
    revision: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """The decision. `current` is the spec's own revision, `stable` the last that became Ready.

    `back` says why the current revision does not run, `failed` why a rollout that may not go back
    is given up on. `missing` counts the pods among `replicas` for which the pool has no device.
    `until` is when the deadline passes if nothing moves, `look_again` when patience with the
    scheduler ends.
    """

    target: RolloutTarget
    current: str
    stable: str
    pods: Generations
    findings: tuple[Finding, ...] = ()
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
