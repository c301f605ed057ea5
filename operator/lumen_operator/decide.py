"""What to do about one service or one pool: pure, from observation alone.

`reconcile` carries the decision out. The same observation gives the same decision, and once it is
carried out there is nothing left to write.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from lumen_manifest.conditions import Reason
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.context import Images, Manifest
from lumen_operator.kinds import Ref
from lumen_operator.observe import Observed, ObservedPool
from lumen_operator.views import PodAddress


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What the operator's settings say about every service."""

    images: Images = field(default_factory=Images)
    operator_namespace: str = "lumen"
    monitoring_namespace: str = "monitoring"
    source_env: Mapping[str, str] = field(default_factory=dict)
    drain_delay_s: int = 5
    grace_s: int = 25


@dataclass(frozen=True, slots=True)
class EventNote:
    """One event to post about the service or pool; `reason` names a condition's reason."""

    type: Literal["Normal", "Warning"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written, in this order: `apply`, `delete`, `status`, `events`.

    `apply` has only manifests that are not contained in what is observed. `status` is the whole
    status in the API's spelling, None when it is what is stored. `poll` names the pods to ask for
    a report until the next decision. `again_in_s` is when time alone can change the decision.
    """

    apply: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[EventNote, ...] = ()
    poll: tuple[PodAddress, ...] = ()
    again_in_s: float | None = None


def decide_service(observed: Observed, context: OperatorContext, now: datetime) -> Decision:
    """Decide about a service. Never raises: what cannot be done is said in the status."""
    raise NotImplementedError


def decide_pool(observed: ObservedPool, now: datetime) -> Decision:
    """Decide about a pool: its status."""
    raise NotImplementedError


def decide_default_pools(
    existing: Collection[str], wanted: Collection[LumenNodePool]
) -> tuple[Manifest, ...]:
    """Return the default pools to create: those whose name is not taken."""
    raise NotImplementedError
