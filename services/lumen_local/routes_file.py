"""The routes file: how `lumen up` tells the router which servers there are.

It is rewritten whenever readiness or what is known of a service turns, always whole: a temporary
file takes its place, so that the router never reads half of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lumen_local.show.events import Event, Failed, FilesVerified, Ready, ServicePhase, Working
from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import (
    Condition,
    LumenModelService,
    ModelServiceStatus,
    RouteStatus,
)
from lumen_manifest.names import STABLE_VARIANT
from lumen_manifest.pod_reports import Attestation, Failure, Verified, files_status, runtime_status
from lumen_manifest.routes_document import RouteEndpoint, RoutesDocument

_WAITING = {
    ServicePhase.FETCHING: Reason.FETCHING,
    ServicePhase.PREPARING: Reason.PREPARING,
    ServicePhase.LOADING: Reason.NO_REPLICA_READY,
}


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of one service."""

    endpoints: dict[int, RouteEndpoint] = field(default_factory=dict)
    reason: Reason = Reason.NO_REPLICA_READY
    failure: Failure | None = None
    verified: Verified | None = None
    attestation: Attestation = field(default_factory=Attestation)


class RoutesFileWriter:
    """Keeps the file in step with a run; every method has written it before it returns."""

    def __init__(self, path: Path, services: Sequence[LumenModelService]) -> None:
        self._path = path
        self._services = tuple(services)
        self._known = {service.name: Known() for service in services if not service.spec.external}
        self._write()

    def started(self, service: str, replica: int, address: str) -> None:
        """A server loads at this address."""
        self._set_endpoint(service, replica, RouteEndpoint(address=address))

    def ready(self, service: str, replica: int, *, ready: bool) -> None:
        """A server's readiness turned."""
        self._change_endpoint(service, replica, {"ready": ready})

    def terminating(self, service: str, replica: int) -> None:
        """A server is about to be told to end."""
        self._change_endpoint(service, replica, {"ready": False, "terminating": True})

    def gone(self, service: str, replica: int) -> None:
        """A server has ended."""
        self._set_endpoint(service, replica, None)

    def observe(self, event: Event) -> None:
        """Learn from what happens: callers are told why a service does not answer."""
        match event:
            case Working(service=service, phase=phase):
                reason = _WAITING.get(phase, Reason.NO_REPLICA_READY)
                self._learn(service, reason=reason, failure=None)
            case FilesVerified(service=service, verified=verified):
                self._learn(service, verified=verified)
            case Ready(service=service, attestation=attestation):
                self._learn(service, attestation=attestation, failure=None)
            case Failed(service=service, failure=failure):
                self._learn(service, failure=failure)
            case _:
                pass

    def _learn(self, service: str, **facts: object) -> None:
        if (known := self._known.get(service)) is not None:
            self._update(service, replace(known, **facts))  # type: ignore[arg-type]

    def _change_endpoint(self, service: str, replica: int, change: dict[str, bool]) -> None:
        known = self._known.get(service)
        if known is not None and replica in known.endpoints:
            endpoint = known.endpoints[replica].model_copy(update=change)
            self._set_endpoint(service, replica, endpoint)

    def _set_endpoint(self, service: str, replica: int, endpoint: RouteEndpoint | None) -> None:
        known = self._known.get(service)
        if known is None:  # the router itself, which is nobody's backend
            return
        others = {n: e for n, e in known.endpoints.items() if n != replica}
        endpoints = others if endpoint is None else {**others, replica: endpoint}
        self._update(service, replace(known, endpoints=endpoints))

    def _update(self, service: str, known: Known) -> None:
        if known != self._known[service]:
            self._known[service] = known
            self._write()

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(routes_document(self._services, self._known).to_json(), "utf-8")
        temporary.replace(self._path)


def routes_document(
    services: Sequence[LumenModelService], known: dict[str, Known]
) -> RoutesDocument:
    """Say what is known, in the router's words. Pure."""
    return RoutesDocument(
        services=tuple(
            service.model_copy(update={"status": service_status(service, known[service.name])})
            if service.name in known
            else service
            for service in services
        ),
        endpoints={
            name: tuple(endpoint for _, endpoint in sorted(of.endpoints.items()))
            for name, of in known.items()
        },
    )


def service_status(service: LumenModelService, known: Known) -> ModelServiceStatus:
    """Return the status that the operator would write. Pure."""
    ready = sum(endpoint.ready for endpoint in known.endpoints.values())
    said, verified = known.attestation, known.verified
    space = said.embedding_space or (verified.embedding_space if verified else "")
    reason = "" if ready else str(known.failure.reason if known.failure else known.reason)
    return ModelServiceStatus(
        replicas=len(known.endpoints),
        ready_replicas=ready,
        ready=f"{ready}/{service.spec.replicas}",
        reason=reason,
        tasks=said.tasks,
        model_id=said.model_id,
        embedding_dim=said.embedding_dim,
        embedding_space=space,
        runtime=runtime_status(said),
        files=files_status(verified),
        routes=(
            RouteStatus(
                variant=STABLE_VARIANT,
                service=service.name,
                tasks=said.tasks,
                embedding_space=space,
            ),
        ),
        conditions=(_ready_condition(known, ready=ready > 0),),
    )


def _ready_condition(known: Known, *, ready: bool) -> Condition:
    if ready:
        return Condition(type=ConditionType.READY, status="True", reason=Reason.READY)
    failure = known.failure
    if failure is None:
        return Condition(
            type=ConditionType.READY,
            status="False",
            reason=known.reason,
            message=known.reason.meaning,
        )
    message = f"{failure.message} {failure.remedy}".strip()[:4096]
    return Condition(
        type=ConditionType.READY, status="False", reason=failure.reason, message=message
    )
