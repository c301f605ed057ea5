"""What happens in a run, as values: the supervisor tells them, and all who listen hear them.

Every name here but EndpointChanged appears in `lumen up -f FILE --output json`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from lumen_manifest.pod_reports import Attestation, Failure, ProgressReport, Verified
from lumen_manifest.routes_document import RouteEndpoint

ROUTER = "router"


class ServicePhase(StrEnum):
    """What a service does until it is ready."""

    FETCHING = "fetching"
    PREPARING = "preparing"
    LOADING = "loading"


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """A service as the first line of a run names it."""

    name: str
    runtime: str
    accelerator: str
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Starting:
    """The run begins."""

    services: tuple[ServiceLine, ...]
    address: str
    router: bool
    state_dir: str


@dataclass(frozen=True, slots=True)
class Working:
    """A service fetches, prepares or loads; told again whenever its progress moves."""

    service: str
    phase: ServicePhase
    progress: ProgressReport = field(default_factory=ProgressReport)


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    """Where a replica is reached, and whether it takes calls; None when it has ended.

    The router has been told when the telling returns: no server ends before it is left alone.
    """

    service: str
    replica: int
    endpoint: RouteEndpoint | None


@dataclass(frozen=True, slots=True)
class FilesVerified:
    """Every file of a service's model is as it should be."""

    service: str
    verified: Verified
    seconds: float


@dataclass(frozen=True, slots=True)
class Ready:
    """A replica answers; `seconds` since its process was started."""

    service: str
    replica: int
    seconds: float
    address: str
    attestation: Attestation
    restarts: int = 0
    status_port: int = 0


@dataclass(frozen=True, slots=True)
class NotReady:
    """A replica that was ready says it is not; the router leaves it alone."""

    service: str
    replica: int


@dataclass(frozen=True, slots=True)
class AllReady:
    """Everything that can be ready is; `failed` names what cannot."""

    address: str
    router: bool
    seconds: float
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A process ended although nobody asked; `retry_s` is None when nothing more is tried."""

    service: str
    step: str
    replica: int
    failure: Failure
    retry_s: float | None


@dataclass(frozen=True, slots=True)
class Restarted:
    """A replica's process runs again."""

    service: str
    replica: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know, though nothing has failed."""

    service: str
    message: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a process wrote."""

    service: str
    text: str


@dataclass(frozen=True, slots=True)
class RunStopping:
    """The run drains: calls in flight are answered, nothing new is taken."""

    processes: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Every process has ended."""

    seconds: float
    killed: tuple[str, ...] = ()


Event = (
    Starting
    | Working
    | EndpointChanged
    | FilesVerified
    | Ready
    | NotReady
    | AllReady
    | Failed
    | Restarted
    | Warned
    | LogLine
    | RunStopping
    | Stopped
)
