"""Objects of the cluster as frozen values: what decisions need, read by `decode`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from lumen_cluster.kinds import Raw
from lumen_manifest.names import METRICS_PORT, STABLE_VARIANT


@dataclass(frozen=True, slots=True)
class PodReport:
    """What a container of a pod answered to GET /status; `document` is untrusted JSON.

    Of a server outside the cluster it also says which addresses its name has, and whether it
    answers at all.
    """

    uid: str
    container: str
    document: Raw
    at: datetime
    addresses: tuple[str, ...] = ()
    answers: bool = True

    def says_what(self, other: "PodReport") -> bool:
        """Return whether it says the same as another, whenever that was."""
        return replace(self, at=other.at) == other


@dataclass(frozen=True, slots=True)
class PodAddress:
    """Where to ask for a report, and which container is expected to answer.

    `ip` may be a name where the server is `external`, outside the cluster.
    """

    uid: str
    ip: str
    container: str
    port: int = METRICS_PORT
    external: bool = False


@dataclass(frozen=True, slots=True)
class Terminated:
    """How a container's run ended."""

    exit_code: int
    reason: str
    message: str
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ContainerView:
    """A container's status. `waiting` is the kubelet's reason, empty when it does not wait.

    `ended` is the run that is over now, `ended_before` the one before the present run.
    """

    name: str
    init: bool
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    waiting_message: str = ""
    running: bool = False
    started_at: datetime | None = None
    ended: Terminated | None = None
    ended_before: Terminated | None = None

    @property
    def succeeded(self) -> bool:
        """Whether its last run ended well."""
        return self.ended is not None and self.ended.exit_code == 0

    @property
    def last_failure(self) -> Terminated | None:
        """The newest run that ended badly, if no good one followed."""
        for run in (self.ended, self.ended_before):
            if run is not None:
                return run if run.exit_code != 0 else None
        return None


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of a service; `containers` has the init containers first, in their order."""

    name: str
    uid: str
    service: str = ""
    variant: str = STABLE_VARIANT
    namespace: str = ""
    template_hash: str = ""
    revision: str = ""
    pins: str = ""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    ip: str = ""
    node: str = ""
    ready: bool = False
    terminating: bool = False
    scheduled: bool = False
    unschedulable: str = ""
    created_at: datetime | None = None
    changed_at: datetime | None = None
    containers: tuple[ContainerView, ...] = ()
    requests: Mapping[str, int] = field(default_factory=dict)
    config_maps: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()

    @property
    def over(self) -> bool:
        """Whether it will never run again."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def serves(self) -> bool:
        """Whether calls may go there."""
        return self.ready and not self.terminating and not self.over

    def container(self, name: str) -> ContainerView | None:
        """Return the status of a container, None while there is none."""
        return next((each for each in self.containers if each.name == name), None)

    @property
    def running_container(self) -> ContainerView | None:
        """The container that works now: the first init container that runs, else the server."""
        return next((each for each in self.containers if each.running), None)


@dataclass(frozen=True, slots=True)
class ReplicaSetView:
    """A generation of a Deployment's pods; `rollout` counts up, the highest one is current."""

    name: str
    owner: str
    template_hash: str
    rollout: int
    revision: str
    forbidden: str
    forbidden_since: datetime | None
    config_maps: frozenset[str]
    variant: str = STABLE_VARIANT


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A Deployment: what it was asked, and how far its controller is."""

    name: str
    uid: str
    generation: int
    observed_generation: int
    asked: int
    surges: bool
    revision: str
    forbidden: str


@dataclass(frozen=True, slots=True)
class VariantView:
    """What there is of one variant: its Deployment, and that one's ReplicaSets and pods.

    `pods` has the oldest first.
    """

    deployment: DeploymentView | None = None
    replica_sets: tuple[ReplicaSetView, ...] = ()
    pods: tuple[PodView, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node; `allocatable` holds whole numbers of extended resources only.

    `trouble` is why it is not ready, in the words of its kubelet or of who misses that one.
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    ready: bool
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A PersistentVolumeClaim."""

    name: str
    phase: str


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A stored spec; `spec` lacks the fields that make no revision."""

    name: str
    uid: str
    number: int
    spec: Raw


@dataclass(frozen=True, slots=True)
class AutoscalerView:
    """What the HPA's controller says: `scaling` is True, False, Unknown, or empty before."""

    scaling: str
    reason: str
    message: str
