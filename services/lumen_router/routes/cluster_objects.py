"""The cluster's LumenModelServices and EndpointSlices, and the `Routes` that they mean. Pure.

Only what routing needs is read. A newer operator's fields, and a spec that this router would
refuse elsewhere, must not take a service away whose pods serve on. The order in which objects are
told of, and how often, changes nothing: the same objects always give the same routes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from lumen_cluster.store import why_left_out
from lumen_manifest import names
from lumen_manifest.conditions import ConditionType
from lumen_manifest.model_service import API_VERSION, LumenModelService
from lumen_manifest.reading.parse import parse_object
from lumen_manifest.reading.problems import ManifestError
from lumen_manifest.spec.field_types import MODEL_NAME, MODEL_NAME_MAX
from lumen_process.addresses import host_port
from lumen_router.errors import ObjectUnreadable
from lumen_router.routes import table
from lumen_router.routes.documents import read_service
from lumen_router.routes.table import Endpoint, Routes

Raw = Mapping[str, Any]

SLICE_SERVICE_LABEL = "kubernetes.io/service-name"
GRPC_PORT_NAME = "grpc"

_READ_OF_METADATA = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp")
_READ_OF_SLICE = ("name", "namespace", "uid", "labels")
_READ_OF_SPEC = ("family", "aliases", "default", "external", "scenes")
_READ_OF_STATUS = ("routes", "embeddingSpace", "reason")
_READ_OF_CONDITION = ("type", "status", "reason", "message")
# Required of a whole manifest, and nothing to the router; of the model, only its name is read.
_UNREAD_NAME, _UNREAD_RUNTIME = "unread", "onnx"
_UNREAD_POOL = "unread"


class AddressType(StrEnum):
    """What the addresses of a slice are; the one to prefer first."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"


class SliceEndpoint(NamedTuple):
    """One endpoint of a slice. `pod` is the pod's uid, empty when it is not a pod's."""

    pod: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Slice:
    """One EndpointSlice: some of the endpoints of the Kubernetes Service `of`.

    `owner` is the LumenModelService that the slice's label names.
    """

    name: str
    owner: str
    of: str
    address_type: AddressType
    endpoints: tuple[SliceEndpoint, ...]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)


class _ObjectMeta(_Read):
    name: str
    labels: dict[str, str] | None = None


class _Conditions(_Read):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Reference(_Read):
    uid: str = ""


class _Endpoint(_Read):
    addresses: tuple[str, ...] = ()
    conditions: _Conditions | None = None
    target_ref: _Reference | None = None


class _Port(_Read):
    name: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class _Slice(_Read):
    metadata: _ObjectMeta
    address_type: AddressType = AddressType.IPV4
    endpoints: tuple[_Endpoint, ...] | None = None
    ports: tuple[_Port, ...] | None = None


def keep_model_service(raw: Raw) -> Raw:
    """Reduce a LumenModelService to what routing reads of it."""
    spec, status, metadata = raw["spec"], raw.get("status") or {}, raw["metadata"]
    kept = {key: spec[key] for key in _READ_OF_SPEC if key in spec}
    if "external" not in kept:
        kept["pool"] = _UNREAD_POOL
    conditions = [
        {key: condition[key] for key in _READ_OF_CONDITION if key in condition}
        for condition in status.get("conditions") or ()
        if condition.get("type") == ConditionType.READY
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "LumenModelService",
        "metadata": {key: metadata[key] for key in _READ_OF_METADATA if key in metadata},
        "spec": {**kept, "model": _model_of(spec)},
        "status": {
            **{key: status[key] for key in _READ_OF_STATUS if key in status},
            "conditions": conditions,
        },
    }


def _model_of(spec: Raw) -> Raw:
    model = spec.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    known = isinstance(name, str) and len(name) <= MODEL_NAME_MAX
    readable = known and re.fullmatch(MODEL_NAME.regex, str(name))
    return {"name": name if readable else _UNREAD_NAME, "runtime": _UNREAD_RUNTIME}


def parse_model_service(raw: Raw) -> LumenModelService:
    """Read what `keep_model_service` returned; raises ObjectUnreadable."""
    _refuse_left_out("LumenModelService", raw)
    try:
        parsed = parse_object(raw)
    except ManifestError as error:
        raise ObjectUnreadable(f"LumenModelService {_name_of(raw)}: {error}") from error
    assert isinstance(parsed, LumenModelService), "the kind is set above"
    return parsed


def keep_slice(raw: Raw) -> Raw:
    """Reduce an EndpointSlice to what `parse_slice` reads."""
    metadata = raw["metadata"]
    kept = {key: raw[key] for key in ("addressType", "endpoints", "ports") if key in raw}
    return {**kept, "metadata": {key: metadata[key] for key in _READ_OF_SLICE if key in metadata}}


def parse_slice(raw: Raw) -> Slice:
    """Read an EndpointSlice; raises ObjectUnreadable."""
    _refuse_left_out("EndpointSlice", raw)
    try:
        read = _Slice.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ObjectUnreadable(f"EndpointSlice {_name_of(raw)}: {where}: {first['msg']}") from error
    labels = read.metadata.labels or {}
    port = _grpc_port(read.ports or ())
    return Slice(
        name=read.metadata.name,
        owner=labels.get(names.SERVICE_LABEL, ""),
        of=labels.get(SLICE_SERVICE_LABEL, ""),
        address_type=read.address_type,
        endpoints=tuple(
            _read_endpoint(endpoint, endpoint.addresses[0], port)
            for endpoint in read.endpoints or ()
            if endpoint.addresses
        ),
    )


def _refuse_left_out(kind: str, raw: Raw) -> None:
    if why := why_left_out(raw):
        raise ObjectUnreadable(f"{kind} {_name_of(raw)}: {why}")


def _grpc_port(ports: tuple[_Port, ...]) -> int:
    """Return the port named grpc, else the only one, else the one that model servers have."""
    numbers = {one.name or "": one.port for one in ports if one.port is not None}
    if GRPC_PORT_NAME in numbers:
        return numbers[GRPC_PORT_NAME]
    return next(iter(numbers.values())) if len(numbers) == 1 else names.GRPC_PORT


def _read_endpoint(read: _Endpoint, address: str, port: int) -> SliceEndpoint:
    """Read one endpoint; only its first address counts, as the API says."""
    conditions = read.conditions or _Conditions()
    terminating = conditions.terminating is True
    # Unknown means ready. `serving` is what the probe says: of a pod that leaves, and even where a
    # Service publishes addresses that are not ready.
    ready = conditions.serving is not False and (terminating or conditions.ready is not False)
    endpoint = Endpoint(host_port(address, port), ready, terminating)
    return SliceEndpoint(read.target_ref.uid if read.target_ref else "", endpoint)


def _name_of(raw: Raw) -> str:
    metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
    return str(metadata.get("name", "?"))[:80] if isinstance(metadata, Mapping) else "?"


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
