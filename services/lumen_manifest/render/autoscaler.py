"""The HorizontalPodAutoscaler of a service.

It targets the LumenModelService's scale subresource, not the Deployment: the operator alone
writes the Deployment's replicas.
"""

from lumen_manifest import names
from lumen_manifest.model_service import MetricSpec, MetricType
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.metadata import child_metadata


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
