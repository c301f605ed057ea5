"""All children of one service; here those that stand on a variant, or on the service as a whole."""

from dataclasses import dataclass

from lumen_manifest import names
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import attached_name, selector_labels, variant_name
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render.context import (
    Manifest,
    RenderContext,
    RenderError,
    Rendering,
    child_metadata,
)
from lumen_manifest.render.network_policy import network_policy
from lumen_manifest.render.pod import pod_template
from lumen_manifest.render.records import pins_config_map, settings_config_map
from lumen_manifest.spec.enums import MetricType
from lumen_manifest.spec.service_settings import MetricSpec

HISTORY = 5


def deployment(rendering: Rendering, config_map: str) -> Manifest:
    """Render the variant's Deployment."""
    service, variant = rendering.service, rendering.context.variant
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(service, variant_name(service.name, variant), variant),
        "spec": {
            "replicas": replicas(rendering),
            "revisionHistoryLimit": HISTORY,
            "progressDeadlineSeconds": service.spec.rollout.progress_deadline_seconds,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _steps(rendering)},
            "selector": {"matchLabels": selector_labels(service.name, variant)},
            "template": pod_template(rendering, config_map),
        },
    }


def replicas(rendering: Rendering) -> int:
    """Ask for one pod until it has shown which files all pods shall have."""
    context, wanted = rendering.context, rendering.service.spec.replicas
    if context.replicas is not None:
        return context.replicas
    return wanted if context.pinned else min(wanted, 1)


def _steps(rendering: Rendering) -> Manifest:
    """Start the new pod first; without a device to spare, end the old one first."""
    if rendering.context.surge:
        return {"maxSurge": 1, "maxUnavailable": 0}
    return {"maxSurge": 0, "maxUnavailable": 1 + rendering.context.missing}


def headless_service(rendering: Rendering) -> Manifest:
    """Render the variant's headless Service."""
    service, variant = rendering.service, rendering.context.variant
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(service, names.variant_name(service.name, variant), variant),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": names.selector_labels(service.name, variant),
            "ports": [
                _port("grpc", names.GRPC_PORT, "kubernetes.io/h2c"),
                _port("metrics", names.METRICS_PORT, "http"),
            ],
        },
    }


def _port(name: str, number: int, protocol: str) -> Manifest:
    return {
        "name": name,
        "port": number,
        "targetPort": number,
        "protocol": "TCP",
        "appProtocol": protocol,
    }


def pod_disruption_budget(rendering: Rendering) -> Manifest:
    """Render the budget over all variants; pods that never became ready may always go."""
    service = rendering.service
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(service, attached_name(service.name)),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector_labels(service.name)},
        },
    }


def horizontal_pod_autoscaler(rendering: Rendering) -> Manifest | None:
    """Render the autoscaler; None when the service does not ask for one."""
    service = rendering.service
    scaling = service.spec.autoscaling
    if scaling is None:
        return None
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(service, names.attached_name(service.name)),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": service.api_version,
                "kind": service.kind,
                "name": service.name,
            },
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [_metric(metric) for metric in scaling.metrics],
        },
    }


def _metric(metric: MetricSpec) -> Manifest:
    if metric.type is MetricType.CPU:
        return {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu",
                "container": names.SERVER_CONTAINER,
                "target": {"type": "Utilization", "averageUtilization": metric.target},
            },
        }
    name, value = {
        MetricType.INFLIGHT: ("lumen_inflight", str(metric.target)),
        MetricType.QUEUE_WAIT: ("lumen_queue_wait_seconds", _seconds(metric.target)),
    }[metric.type]
    return {
        "type": "Pods",
        "pods": {
            "metric": {"name": name},
            "target": {"type": "AverageValue", "averageValue": value},
        },
    }


def _seconds(milliseconds: int) -> str:
    """Write milliseconds as a quantity of seconds, in the form the API server keeps."""
    whole, rest = divmod(milliseconds, 1000)
    return str(whole) if rest == 0 else f"{milliseconds}m"


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
