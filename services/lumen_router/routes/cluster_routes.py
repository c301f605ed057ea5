"""From the cluster's LumenModelServices and EndpointSlices to `Routes`. Pure.

`from_cluster` calls it with what the watches last said. The order in which they said it, and how
often, changes nothing: the same objects always give the same routes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lumen_manifest.model_service import LumenModelService
from lumen_router.routes import table
from lumen_router.routes.cluster_objects import AddressType, Slice
from lumen_router.routes.documents import read_service
from lumen_router.routes.table import Endpoint, Routes

Endpoints = Mapping[str, tuple[Endpoint, ...]]
"""The endpoints of each Kubernetes Service, by its name."""

NONE: Endpoints = {}


def routes_of_cluster(services: Iterable[LumenModelService], slices: Iterable[Slice]) -> Routes:
    """Build the table. A service that is being deleted is gone already."""
    endpoints = gather_endpoints(slices)
    return table.build(
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
    said: dict[tuple[str, str], Endpoint] = {}
    reached_by: dict[str, AddressType] = {}
    for part in parts:
        for pod, endpoint in part.endpoints:
            if pod and reached_by.setdefault(pod, part.address_type) is not part.address_type:
                continue
            key = endpoint.address, pod
            said[key] = _agreed(said.get(key, endpoint), endpoint)
    found: dict[str, Endpoint] = {}
    for (address, _), endpoint in said.items():
        found[address] = max(found.get(address, endpoint), endpoint, key=_usefulness)
    return tuple(found[address] for address in sorted(found))


def _agreed(one: Endpoint, other: Endpoint) -> Endpoint:
    """Settle two statements about one pod: none that terminates ever comes back."""
    return Endpoint(one.address, one.ready or other.ready, one.terminating or other.terminating)


def _usefulness(endpoint: Endpoint) -> tuple[bool, bool, bool]:
    """Order the pods of one address: a new one may have it while the one that left is listed."""
    return endpoint.takes_calls, endpoint.ready, not endpoint.terminating
