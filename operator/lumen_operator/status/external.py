"""A service that runs elsewhere: routed to and attested, not deployed.

Only an address in one of the administrator's networks is called, by the operator and, since
`status.routes` names addresses and no names, by the router.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import METRICS_PORT, SERVER_CONTAINER
from lumen_manifest.pod_reports import Attestation, files_status
from lumen_manifest.spec.service_status import FilesStatus, ModelServiceStatus, RouteStatus
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe.gather import Observed, external_uid
from lumen_operator.observe.networks import (
    Address,
    ExternalNetworks,
    around,
    is_misspelt,
    is_special,
    literal,
    meant_by,
)
from lumen_operator.observe.views import PodAddress, PodReport
from lumen_operator.rollout.pins import served_files
from lumen_operator.status.conditions import accepted, kept
from lumen_operator.status.service import attestation_from, with_attestation, with_statements
from lumen_operator.status.statements import ConditionState, fails, holds, ready_of, unknown
from lumen_process.addresses import host_port

EXTERNAL_VARIANT = "external"
PORT_MAX = 65535
_OF_THE_SERVER = (
    ConditionType.RESOURCES_READY,
    ConditionType.DEVICE_READY,
    ConditionType.AVAILABLE,
)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is known of the server: `addresses` may be called, unless something `refused` it.

    `report` is None until it was asked since the operator started.
    """

    spec: str
    host: str
    port: int
    report: PodReport | None
    addresses: tuple[Address, ...]
    refused: Finding | None
    said: Attestation | None


def elsewhere(
    observed: Observed, service: LumenModelService, networks: ExternalNetworks
) -> Elsewhere:
    """Gather what is known of a service's server, and judge where it is."""
    spec = service.spec.external or ""
    host, _, port = spec.rpartition(":")
    host, uid = host.strip("[]"), external_uid(observed.key, spec)
    report = observed.reports.get(uid)
    found = _addresses(observed, spec, host, report)
    refused = _misspelt(spec, host, int(port or 0)) or _forbidden(spec, host, found, networks)
    said = attestation_from(observed, uid) if refused is None else None
    return Elsewhere(spec, host, int(port or 0), report, found, refused, said)


def pages_to_ask(observed: Observed, at: Elsewhere) -> Iterator[PodAddress]:
    """Name the server's status page: at its host, on the port of every server's page.

    An address that is refused stays refused; a name may get another address.
    """
    if at.refused is None or not at.refused.final:
        uid = external_uid(observed.key, at.spec)
        yield PodAddress(uid, at.host, SERVER_CONTAINER, external=True)


def external_status(
    observed: Observed, service: LumenModelService, at: Elsewhere, problem: Finding | None
) -> ModelServiceStatus:
    """Say all of a service whose server is outside the cluster."""
    space = _space(observed, service, at.said)
    status = with_attestation(observed.status, at.said)
    found = dict(_statements(observed, service, at, at.refused or problem))
    serving = _serving(observed, at)
    status = status.model_copy(
        update={
            "replicas": 0,
            "ready_replicas": serving,
            "ready": f"{serving}/1",
            "selector": "",
            "endpoint": at.spec,
            "embedding_space": space,
            "files": _files(observed, at),
            "routes": tuple(_routes(at, status, space)),
            "stable_revision": "",
            "rejected_revision": "",
        }
    )
    return with_statements(observed, status, found)


def _addresses(
    observed: Observed, spec: str, host: str, report: PodReport | None
) -> tuple[Address, ...]:
    """Return a server's addresses: its own, those found now, else those that were routed to."""
    given = literal(host)
    if given is not None:
        return (given,)
    texts = report.addresses if report is not None else ()
    if not texts and observed.status.endpoint == spec:
        texts = tuple(route.service.rpartition(":")[0] for route in observed.status.routes)
    return tuple(filter(None, (literal(text.strip("[]")) for text in texts)))


def _misspelt(spec: str, host: str, port: int) -> Finding | None:
    if not is_misspelt(host) and 0 < port <= PORT_MAX:
        return None
    return find(
        ConditionType.ACCEPTED,
        Reason.INVALID_SPEC,
        f"spec.external {spec} is neither an address nor a name with a port",
        remedy="Write it as 192.168.7.20:50051, [fd00::7]:50051 or board.example:50051.",
        final=True,
    )


def _forbidden(
    spec: str, host: str, found: tuple[Address, ...], networks: ExternalNetworks
) -> Finding | None:
    """One of the server's addresses is in no network that the administrator named."""
    bad = next((each for each in found if not networks.allow(each)), None)
    if bad is None:
        return None
    meant, given = meant_by(bad), literal(host) is not None
    means = "" if bad == meant else f" (which is {meant})"
    leads = f"{means} is" if given else f" resolves to {bad}{means}, which is"
    return find(
        ConditionType.ACCEPTED,
        Reason.INVALID_SPEC,
        f"spec.external {spec}{leads} in no network of external.allowedNetworks",
        remedy=_remedy(meant),
        final=given,
    )


def _remedy(meant: Address) -> str:
    if is_special(meant):
        return (
            f"{meant} belongs to a machine itself, its link or its cloud: "
            "name the server by an address of its own."
        )
    return (
        f"Ask the administrator to add {around(meant)}, or less of it, to external.allowedNetworks "
        "in the chart's values, or name a server that is in one of them."
    )


def _serving(observed: Observed, at: Elsewhere) -> int:
    """Count the server; until it was asked for the first time, what was known stays."""
    if _stands(observed, at):
        return min(1, observed.status.ready_replicas)
    return int(at.said is not None)


def _stands(observed: Observed, at: Elsewhere) -> bool:
    """Return whether nothing is known but what was written before the operator started."""
    unasked = at.report is None and at.refused is None
    return unasked and observed.status.endpoint == at.spec


def _space(observed: Observed, service: LumenModelService, said: Attestation | None) -> str:
    """Keep the space that callers know, unless they said that it may change."""
    now, new = observed.status.embedding_space, said.embedding_space if said is not None else ""
    return new if new and (not now or service.spec.rollout.allow_reindex) else now


def _files(observed: Observed, at: Elsewhere) -> FilesStatus | None:
    uid = external_uid(observed.key, at.spec)
    files = served_files(observed, uid) if at.said is not None else None
    return files_status(files) or observed.status.files


def _routes(at: Elsewhere, status: ModelServiceStatus, space: str) -> Iterator[RouteStatus]:
    """Name the addresses that were judged: the router resolves nothing."""
    for address in at.addresses if at.refused is None else ():
        yield RouteStatus(
            variant=EXTERNAL_VARIANT,
            service=host_port(str(address), at.port),
            weight=100,
            tasks=status.tasks,
            embedding_space=space,
        )


def _statements(
    observed: Observed, service: LumenModelService, at: Elsewhere, problem: Finding | None
) -> Iterator[tuple[ConditionType, ConditionState]]:
    found = {
        ConditionType.ACCEPTED: fails(problem) if problem else accepted(observed),
        **_of_the_server(observed, service, at),
        ConditionType.PROGRESSING: ConditionState(
            "False", Reason.ROLLOUT_COMPLETE, "The server runs outside the cluster."
        ),
    }
    yield from found.items()
    yield ConditionType.READY, ready_of(found)


def _of_the_server(
    observed: Observed, service: LumenModelService, at: Elsewhere
) -> Mapping[ConditionType, ConditionState]:
    there = at.said is not None
    found = {
        ConditionType.RESOURCES_READY: holds(Reason.VERIFIED) if there else unknown(),
        ConditionType.DEVICE_READY: holds(Reason.DEVICE_ATTESTED) if there else unknown(),
        ConditionType.AVAILABLE: _available(observed, service, at),
    }
    if not _stands(observed, at):
        return found
    before = kept(observed.status.conditions)
    return found | {type_: before[type_] for type_ in _OF_THE_SERVER if type_ in before}


def _available(observed: Observed, service: LumenModelService, at: Elsewhere) -> ConditionState:
    said = at.said
    if said is None:
        return fails(_silent(at))
    now, new = observed.status.embedding_space, said.embedding_space
    if now and new and now != new and not service.spec.rollout.allow_reindex:
        return fails(
            find(
                ConditionType.AVAILABLE,
                Reason.NO_REPLICA_READY,
                f"The server at {at.spec} now answers in another embedding space",
                remedy="To switch, set rollout.allowReindex: true and compute every stored vector "
                "anew; to stay, start it with the earlier model.",
            )
        )
    return holds(Reason.MINIMUM_REPLICAS_AVAILABLE, f"{at.spec} serves.")


def _silent(at: Elsewhere) -> Finding:
    if at.refused is not None:
        said, remedy = f"The server at {at.spec} is not called", "See the condition Accepted."
    elif at.report is not None and not at.addresses:
        said = f"The name {at.host} of spec.external is not known here"
        remedy = "Name the server by its address, or by a name that the cluster's DNS knows."
    else:
        said = f"The server at {at.spec} has not said that it serves"
        page = f"http://{host_port(at.host, METRICS_PORT)}/status"
        remedy = (
            f"Start it with `lumen serve`, and let the operator reach its status page at {page}."
        )
    return find(ConditionType.AVAILABLE, Reason.NO_REPLICA_READY, said, remedy=remedy)
