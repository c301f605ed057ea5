"""The Deployment of a variant."""

from lumen_manifest.names import selector_labels, variant_name
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.metadata import child_metadata
from lumen_manifest.render.pod import pod_template

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
