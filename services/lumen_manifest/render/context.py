"""What rendering needs to know besides the service and its pool, and what every child is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import STABLE_VARIANT, service_labels
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.server_config import BackendOverrides, MdnsSpec
from lumen_manifest.spec.enums import Accelerator, Runtime

Manifest = dict[str, Any]

IMAGE_TAG = "0.1.0"


class RenderError(ValueError):
    """The service cannot be rendered on this pool; the message says why."""


@dataclass(frozen=True, slots=True)
class Images:
    """Where images come from when a pool names none: `{prefix}/server-{runtime}-{accelerator}`."""

    prefix: str = "lumen"
    tag: str = IMAGE_TAG
    pull_policy: str = "IfNotPresent"

    @property
    def resources(self) -> str:
        """The image that fetches and verifies."""
        return f"{self.prefix}/resources:{self.tag}"

    def server(self, runtime: Runtime, accelerator: Accelerator) -> str:
        """The model server's image for a runtime on an accelerator."""
        return f"{self.prefix}/server-{runtime}-{accelerator}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Pinned:
    """The first verified pod's commit and lock digest: every later pod fetches exactly these.

    `digest` is empty while only the commit is known, from the same model with other label sets.
    `label_sets` has the commits of those that are from elsewhere.
    """

    revision: str
    digest: str
    embedding_space: str = ""
    label_sets: str = ""


@dataclass(frozen=True, slots=True)
class RenderContext:
    """Settings of the operator, or of `lumen up`, and what was observed of the service.

    `surge` is false while the pool has no device to spare: pods are then replaced one at a time,
    besides those `missing` ones for which there is no device anyway.
    `replicas` overrides the number of pods: a service whose files nobody has verified yet starts
    with one. `revision` names the spec that the pods are made from.
    `source_env` are variables of the fetching init container, such as HF_ENDPOINT and proxies.
    """

    images: Images = Images()
    pinned: Pinned | None = None
    surge: bool = True
    missing: int = 0
    replicas: int | None = None
    revision: str = ""
    variant: str = STABLE_VARIANT
    source_env: Mapping[str, str] = field(default_factory=dict)
    operator_namespace: str = "lumen"
    monitoring_namespace: str = "monitoring"
    drain_delay_s: int = 5
    grace_s: int = 25
    rknn_target: str = ""
    backend: BackendOverrides = field(default_factory=BackendOverrides)
    mdns: MdnsSpec | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """One service on its pool: what every kind's module renders from."""

    service: LumenModelService
    pool: LumenNodePool
    context: RenderContext

    @property
    def server_image(self) -> str:
        """The model server's image.

        Raises:
            RenderError: the pool does not run the service's runtime.

        """
        runtime, pool = self.service.spec.model.runtime, self.pool.spec
        if runtime not in pool.runtimes:
            raise RenderError(
                f"pool {self.pool.name} does not run {runtime}; it runs {', '.join(pool.runtimes)}"
            )
        default = self.context.images.server(runtime, pool.accelerator)
        return pool.images.get(runtime, default)


def child_metadata(service: LumenModelService, name: str, variant: str | None = None) -> Manifest:
    """Write a child's metadata; the owner reference makes it go when the service goes."""
    metadata: Manifest = {
        "name": name,
        "namespace": service.metadata.namespace,
        "labels": service_labels(service.name, service.spec.family, variant),
    }
    if service.metadata.uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": service.api_version,
                "kind": service.kind,
                "name": service.name,
                "uid": service.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return metadata
