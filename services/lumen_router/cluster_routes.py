"""From the cluster's LumenModelServices and EndpointSlices to `Routes`. Pure.

`from_cluster` calls it with what the watches last said. The order in which they said it, and how
often, changes nothing: the same objects always give the same routes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lumen_manifest.model_service import LumenModelService
from lumen_router import routes
from lumen_router.cluster_objects import AddressType, Slice
from lumen_router.documents import read_service
from lumen_router.routes import Endpoint, Routes

Endpoints = Mapping[str, tuple[Endpoint, ...]]
"""The endpoints of each Kubernetes Service, by its name."""

NONE: Endpoints = {}


def routes_of_cluster(services: Iterable[LumenModelService], slices: Iterable[Slice]) -> Routes:
    """Build the table. A service that is being deleted is gone already."""
    endpoints = gather_endpoints(slices)
    return routes.build(
        [
            read_service(service, 0, endpoints.get(service.name, NONE))
            for service in services
            if service.metadata.deletion_timestamp is None
        ]
    )


def gather_endpoints(slices: Iterable[Slice]) -> dict[str, Endpoints]:
    """Merge the slices of each LumenModelService, by its label: no name alone makes pods its own.

    A slice may repeat an endpoint that another slice has, for a moment with another state, and a
    dual-stack Service has every pod in slices of both address types: every address and every pod
    counts once.
    """
    parts: dict[str, dict[str, list[Slice]]] = defaultdict(lambda: defaultdict(list))
    for part in sorted(slices, key=_preference):
        parts[part.owner][part.of].append(part)
    return {
        owner: {of: _merge(listed) for of, listed in by_service.items()}
        for owner, by_service in parts.items()
    }


def _preference(part: Slice) -> tuple[int, str]:
    return list(AddressType).index(part.address_type), part.name


def _merge(parts: Iterable[Slice]) -> tuple[Endpoint, ...]:
    """Merge the slices of one Service, the preferred address type first; sorted by address."""
    found: dict[str, Endpoint] = {}
    reached_by: dict[str, AddressType] = {}
    for part in parts:
        for listed in part.endpoints:
            kind = part.address_type
            if listed.pod and reached_by.setdefault(listed.pod, kind) is not kind:
                continue
            address = listed.endpoint.address
            found[address] = _agreed(found.get(address), listed.endpoint)
    return tuple(found[address] for address in sorted(found))


def _agreed(one: Endpoint | None, other: Endpoint) -> Endpoint:
    """Settle two statements about one address: nothing that terminates ever comes back."""
    if one is None:
        return other
    return Endpoint(one.address, one.ready or other.ready, one.terminating or other.terminating)
