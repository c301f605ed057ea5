"""The custom resources as models: pydantic is the only door, passed once per generation.

A spec that the API server stored may still break a rule of ours (an older CRD, a rule that CEL
cannot state), so parsing may fail; status is our own, and an unreadable one counts as empty.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from lumen_cluster.kinds import Raw
from lumen_cluster.store import why_left_out
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool, NodePoolStatus
from lumen_manifest.reading.parse import ManifestError, parse_object
from lumen_manifest.spec.service_status import ModelServiceStatus
from lumen_operator.observe import decode
from lumen_operator.observe.store import packed

Resource = LumenModelService | LumenNodePool
Parsed = tuple[Resource | None, str]

KEPT = 8192
_METADATA = ("name", "namespace", "uid", "generation", "creationTimestamp")

_parsed: OrderedDict[tuple[str, str, int], Parsed] = OrderedDict()
Status = TypeVar("Status", ModelServiceStatus, NodePoolStatus)


def service(raw: Raw) -> tuple[LumenModelService | None, str]:
    """Return the service, or None and what is wrong with it."""
    found, problem = _once(raw)
    return (found, problem) if isinstance(found, LumenModelService) else (None, problem)


def pool(raw: Raw) -> tuple[LumenNodePool | None, str]:
    """Return the pool, or None and what is wrong with it."""
    found, problem = _once(raw)
    return (found, problem) if isinstance(found, LumenNodePool) else (None, problem)


def service_status(raw: Raw) -> ModelServiceStatus:
    """Return the status that was written last, an empty one when it cannot be read."""
    return _status(raw, ModelServiceStatus.model_validate, ModelServiceStatus())


def pool_status(raw: Raw) -> NodePoolStatus:
    """Return the status that was written last, an empty one when it cannot be read."""
    return _status(raw, NodePoolStatus.model_validate, NodePoolStatus())


def _status(raw: Raw, read: Callable[[Any], Status], empty: Status) -> Status:
    try:
        return read(decode.mapping(raw, "status"))
    except ValidationError:
        return empty


def _once(raw: Raw) -> Parsed:
    """Parse a generation of an object once: the spec, and what of metadata never changes.

    A large one is parsed each time: as models it would take more room than it does in the cache.
    """
    if why := why_left_out(raw):
        return None, f"the object was left out: {why}"
    metadata = decode.mapping(raw, "metadata")
    key = (
        decode.text(raw, "kind"),
        decode.text(metadata, "uid"),
        decode.number(metadata, "generation"),
    )
    if key in _parsed:
        _parsed.move_to_end(key)
        return _parsed[key]
    found = _parse(raw, metadata)
    if key[1] and packed(decode.mapping(raw, "spec")) is None:
        _parsed[key] = found
        while len(_parsed) > KEPT:
            _parsed.popitem(last=False)
    return found


def _parse(raw: Raw, metadata: Raw) -> Parsed:
    kept = {key: metadata[key] for key in _METADATA if key in metadata}
    try:
        return parse_object({**_without_status(raw), "metadata": kept}), ""
    except ManifestError as error:
        return None, str(error)


def _without_status(raw: Raw) -> Raw:
    return {key: raw[key] for key in ("apiVersion", "kind", "spec") if key in raw}
