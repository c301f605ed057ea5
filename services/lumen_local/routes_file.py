"""The routes file: how `lumen up` tells the router which servers there are.

It is rewritten whenever readiness or what is known of a service turns, always whole: a temporary
file takes its place, so that the router never reads half of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lumen_local.show import events
from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import STABLE_VARIANT
from lumen_manifest.pod_reports import Attestation, Failure, Verified, files_status, runtime_status
from lumen_manifest.routes_document import RouteEndpoint, RoutesDocument
from lumen_manifest.spec.service_status import Condition, ModelServiceStatus, RouteStatus

_WAITING = {
    events.ServicePhase.FETCHING: Reason.FETCHING,
    events.ServicePhase.PREPARING: Reason.PREPARING,
    events.ServicePhase.LOADING: Reason.NO_REPLICA_READY,
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
    """Keeps the file in step with a run."""

    def __init__(self, path: Path, services: Sequence[LumenModelService]) -> None:
        self._path = path
        self._services = tuple(services)
        self._known = {service.name: Known() for service in services if not service.spec.external}
        self._write()

    def observe(self, event: events.Event) -> None:
        """Learn from what happens, so that callers are told where a service is, or why it is not.

        The file is written when this returns. Of the router nothing is written: it is nobody's
        backend.
        """
        match event:
            case events.EndpointChanged(service=service, replica=replica, endpoint=endpoint):
                if (known := self._known.get(service)) is not None:
                    others = {n: e for n, e in known.endpoints.items() if n != replica}
                    now = others if endpoint is None else {**others, replica: endpoint}
                    self._learn(service, endpoints=now)
            case events.Working(service=service, phase=phase):
                reason = _WAITING.get(phase, Reason.NO_REPLICA_READY)
                self._learn(service, reason=reason, failure=None)
            case events.FilesVerified(service=service, verified=verified):
                self._learn(service, verified=verified)
            case events.Ready(service=service, attestation=attestation):
                self._learn(service, attestation=attestation, failure=None)
            case events.Failed(service=service, failure=failure):
                self._learn(service, failure=failure)
            case _:
                pass

    def _learn(self, service: str, **facts: object) -> None:
        before = self._known.get(service)
        if before is not None and (after := replace(before, **facts)) != before:  # type: ignore[arg-type]
            self._known[service] = after
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
    failure, reason, message = known.failure, known.reason, known.reason.meaning
    if ready:
        reason, message = Reason.READY, ""
    elif failure is not None:
        reason, message = failure.reason, f"{failure.message} {failure.remedy}".strip()[:4096]
    status: Literal["True", "False"] = "True" if ready else "False"
    return Condition(type=ConditionType.READY, status=status, reason=reason, message=message)
