"""A LumenModelService as the router sees it: the only place that reads the manifest.

Both sources, the routes file and the cluster's watches, come by here.
"""

from collections.abc import Mapping, Sequence

from lumen_manifest.conditions import ConditionType
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_manifest.spec.service_status import ModelServiceStatus
from lumen_router.routes.table import Endpoint, Route, Service

DIRECT = "direct"


def read_service(
    manifest: LumenModelService, position: int, endpoints: Mapping[str, Sequence[Endpoint]]
) -> Service:
    """Read one service; of two without a creation time the one listed first is the older."""
    spec, status = manifest.spec, manifest.status
    return Service(
        name=manifest.name,
        family=spec.family,
        aliases=spec.aliases,
        default=spec.default,
        model=spec.model.name,
        created=(manifest.metadata.creation_timestamp or "", position),
        embedding_space=status.embedding_space if status else "",
        reason="" if status is None or _is_ready(status) else status.reason,
        message=_ready_message(manifest),
        routes=_read_routes(manifest, endpoints),
        scenes=spec.scenes or ScenesSpec(),
    )


def _is_ready(status: ModelServiceStatus) -> bool:
    """Return whether the service answers: its reason then tells of what it lacks besides."""
    return any(
        each.type is ConditionType.READY and each.status == "True" for each in status.conditions
    )


def _read_routes(
    manifest: LumenModelService, endpoints: Mapping[str, Sequence[Endpoint]]
) -> tuple[Route, ...]:
    status, external = manifest.status, manifest.spec.external
    space = status.embedding_space if status else ""
    if external is not None:
        return _read_external(external, status, space)
    if status is not None and status.routes:
        return tuple(
            Route(
                route.variant,
                route.weight,
                route.embedding_space,
                tuple(endpoints.get(route.service, ())),
            )
            for route in status.routes
        )
    # Nobody has written routes yet: what is listed under the service's own name is all of it.
    return (Route(DIRECT, 100, space, tuple(endpoints.get(manifest.name, ()))),)


def _read_external(
    external: str, status: ModelServiceStatus | None, space: str
) -> tuple[Route, ...]:
    """Read the ways to a server outside the cluster: the addresses that the operator judged.

    Only a routes file has services without a status: its writer runs the router himself. The name
    of a Service, without a port, is left from when the service ran in the cluster.
    """
    if status is None:
        return (Route(DIRECT, 100, space, (Endpoint(external),)),)
    return tuple(
        Route(route.variant, route.weight, route.embedding_space, (Endpoint(route.service),))
        for route in status.routes
        if ":" in route.service
    )


def _ready_message(manifest: LumenModelService) -> str:
    if manifest.status is None:
        return ""
    return next(
        (
            condition.message
            for condition in manifest.status.conditions
            if condition.type is ConditionType.READY and condition.status != "True"
        ),
        "",
    )
