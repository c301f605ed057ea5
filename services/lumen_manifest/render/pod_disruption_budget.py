"""The PodDisruptionBudget of a service: nodes are drained one of its pods at a time."""

from lumen_manifest.names import attached_name, selector_labels
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.metadata import child_metadata


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
