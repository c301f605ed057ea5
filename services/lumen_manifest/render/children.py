"""All children of one service."""

from dataclasses import dataclass

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.autoscaler import horizontal_pod_autoscaler
from lumen_manifest.render.config_map import pins_config_map, settings_config_map
from lumen_manifest.render.context import Manifest, RenderContext, RenderError, Rendering
from lumen_manifest.render.deployment import deployment
from lumen_manifest.render.headless_service import headless_service
from lumen_manifest.render.network_policy import network_policy
from lumen_manifest.render.pod_disruption_budget import pod_disruption_budget


@dataclass(frozen=True, slots=True)
class Children:
    """The manifests of a service's children; one Deployment and headless Service per variant."""

    config_map: Manifest
    deployments: tuple[Manifest, ...]
    services: tuple[Manifest, ...]
    pod_disruption_budget: Manifest
    network_policy: Manifest
    horizontal_pod_autoscaler: Manifest | None = None
    pins: Manifest | None = None

    @property
    def all(self) -> tuple[Manifest, ...]:
        """Every manifest, in the order in which to apply: pods start once the rest is there."""
        found = (
            self.config_map,
            self.pins,
            self.network_policy,
            *self.services,
            self.pod_disruption_budget,
            self.horizontal_pod_autoscaler,
            *self.deployments,
        )
        return tuple(manifest for manifest in found if manifest is not None)


def render(
    service: LumenModelService, pool: LumenNodePool, *, context: RenderContext | None = None
) -> Children:
    """Render a service on its pool: the same input gives the same manifests, byte for byte.

    Raises:
        RenderError: the pool does not run the service's runtime, or the service is external.

    """
    if service.spec.external is not None:
        raise RenderError(f"{service.name} runs at {service.spec.external}: nothing is deployed")
    rendering = Rendering(service, pool, context or RenderContext())
    config_map = settings_config_map(rendering)
    return Children(
        config_map=config_map,
        deployments=(deployment(rendering, config_map["metadata"]["name"]),),
        services=(headless_service(rendering),),
        pod_disruption_budget=pod_disruption_budget(rendering),
        network_policy=network_policy(rendering),
        horizontal_pod_autoscaler=horizontal_pod_autoscaler(rendering),
        pins=pins_config_map(rendering),
    )
