"""What the legs apply: services as a user writes them, and the children that are made of them."""

from datetime import UTC, datetime
from typing import Any

import orjson
from bare_client import Document
from bench_cluster import SERVICES_NAMESPACE
from cluster_objects import a_service

from lumen_cluster.kinds import object_path
from lumen_manifest.node_pool import default_pools
from lumen_operator.children.desired import OperatorContext
from lumen_operator.decide import decide_default_pools, decide_service
from lumen_operator.observe.gather import gather_service
from lumen_operator.observe.kinds import POOLS, SERVICES, Key, kind_of
from lumen_operator.observe.store import ObjectCache

Raw = dict[str, Any]


def names(count: int) -> list[str]:
    """Name that many services."""
    return [f"model-{number:05}" for number in range(count)]


def service_of(name: str) -> list[Document]:
    """Describe a service as a file of one object."""
    return [_document(_service(name))]


def children_of(name: str) -> list[Document]:
    """Render what the operator applies for a new service, as files without an owner."""
    cache = ObjectCache()
    for pool in decide_default_pools((), default_pools()):
        cache.put(POOLS, pool)
    raw = _service(name)
    raw["metadata"] |= {"uid": name, "generation": 1}
    cache.put(SERVICES, raw)
    now = datetime.now(UTC)
    observed = gather_service(cache, {}, Key("service", SERVICES_NAMESPACE, name), now)
    assert observed is not None
    rendered = decide_service(observed, OperatorContext(), now).apply
    return [_document(_without_owner(manifest)) for manifest in rendered]


def _service(name: str) -> Raw:
    return a_service(name, namespace=SERVICES_NAMESPACE, replicas=1)


def _without_owner(manifest: Any) -> Raw:
    # There is no owner, so the garbage collector would take them.
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "ownerReferences"}
    return {**manifest, "metadata": metadata}


def _document(manifest: Raw) -> Document:
    metadata = manifest["metadata"]
    path = object_path(kind_of(manifest), metadata["namespace"], metadata["name"])
    return Document(path, orjson.dumps(manifest))
