"""A service that runs elsewhere: routed to and attested, not deployed."""

from collections.abc import Iterator
from datetime import timedelta

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import LumenModelService, ModelServiceStatus
from lumen_manifest.names import SERVER_CONTAINER
from lumen_manifest.pod_reports import Attestation, files_status
from lumen_manifest.service_status import FilesStatus, RouteStatus
from lumen_operator.attested import attestation_from, with_attestation
from lumen_operator.findings import Finding, find
from lumen_operator.observe import Observed, external_uid
from lumen_operator.pins import served_files
from lumen_operator.statements import Statement, fails, holds, ready_of, unknown
from lumen_operator.status import with_statements
from lumen_operator.views import PodAddress

EXTERNAL_VARIANT = "external"
FRESH = timedelta(seconds=30)
"""How old a report may be: nothing else tells that a server outside the cluster is gone."""


def external_status(
    observed: Observed, service: LumenModelService, problem: Finding | None
) -> ModelServiceStatus:
    """Say all of a service whose server is outside the cluster."""
    address = service.spec.external or ""
    said = _attestation(observed)
    space = _space(observed, service, said)
    status = with_attestation(observed.status, said)
    status = status.model_copy(
        update={
            "replicas": 0,
            "ready_replicas": int(said is not None),
            "ready": f"{int(said is not None)}/1",
            "selector": "",
            "endpoint": address,
            "embedding_space": space,
            "files": _files(observed, said),
            "routes": (_route(address, status, space),),
            "stable_revision": "",
            "rejected_revision": "",
        }
    )
    return with_statements(observed, status, dict(_statements(observed, service, said, problem)))


def external_address(observed: Observed, service: LumenModelService) -> PodAddress:
    """Return where the server's status page is: its host, on the port of every server's page."""
    host = (service.spec.external or "").rpartition(":")[0]
    return PodAddress(external_uid(observed.key), host.strip("[]"), SERVER_CONTAINER)


def _attestation(observed: Observed) -> Attestation | None:
    uid = external_uid(observed.key)
    report = observed.reports.get(uid)
    if report is None or observed.now - observed.counted_from(report.at) > FRESH:
        return None
    return attestation_from(observed, uid)


def _space(observed: Observed, service: LumenModelService, said: Attestation | None) -> str:
    """Keep the space that callers know, unless they said that it may change."""
    now, new = observed.status.embedding_space, said.embedding_space if said is not None else ""
    return new if new and (not now or service.spec.rollout.allow_reindex) else now


def _files(observed: Observed, said: Attestation | None) -> FilesStatus | None:
    files = served_files(observed, external_uid(observed.key)) if said is not None else None
    return files_status(files) or observed.status.files


def _route(address: str, status: ModelServiceStatus, space: str) -> RouteStatus:
    return RouteStatus(
        variant=EXTERNAL_VARIANT,
        service=address,
        weight=100,
        tasks=status.tasks,
        embedding_space=space,
    )


def _statements(
    observed: Observed,
    service: LumenModelService,
    said: Attestation | None,
    problem: Finding | None,
) -> Iterator[tuple[ConditionType, Statement]]:
    there = said is not None
    found = {
        ConditionType.ACCEPTED: fails(problem) if problem else holds(Reason.ACCEPTED),
        ConditionType.RESOURCES_READY: holds(Reason.VERIFIED) if there else unknown(),
        ConditionType.DEVICE_READY: holds(Reason.DEVICE_ATTESTED) if there else unknown(),
        ConditionType.AVAILABLE: _available(observed, service, said),
        ConditionType.PROGRESSING: Statement(
            "False", Reason.ROLLOUT_COMPLETE, "The server runs outside the cluster."
        ),
    }
    yield from found.items()
    yield ConditionType.READY, ready_of(found)


def _available(
    observed: Observed, service: LumenModelService, said: Attestation | None
) -> Statement:
    host = external_address(observed, service)
    if said is None:
        return fails(
            find(
                ConditionType.AVAILABLE,
                Reason.NO_REPLICA_READY,
                f"The server at {service.spec.external} has not said that it serves",
                remedy=f"Start it with `lumen serve`, and let the operator reach its status page "
                f"at http://{host.ip}:{host.port}/status.",
            )
        )
    now, new = observed.status.embedding_space, said.embedding_space
    if now and new and now != new and not service.spec.rollout.allow_reindex:
        return fails(
            find(
                ConditionType.AVAILABLE,
                Reason.NO_REPLICA_READY,
                f"The server at {service.spec.external} now answers in another embedding space",
                remedy="To switch, set rollout.allowReindex: true and compute every stored vector "
                "anew; to stay, start it with the earlier model.",
            )
        )
    return holds(Reason.MINIMUM_REPLICAS_AVAILABLE, f"{service.spec.external} serves.")
