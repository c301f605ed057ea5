"""The pod template of a model server."""

from typing import Any

from lumen_manifest import names
from lumen_manifest.render.containers import (
    cache_of,
    init_containers,
    server_container,
    volumes,
)
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.spec.enums import CacheType

USER = 65532
SLACK_S = 15  # between the last thing the server waits for and the kubelet's SIGKILL
HOSTNAME = "kubernetes.io/hostname"


def pod_template(rendering: Rendering, config_map: str) -> Manifest:
    """Render metadata and spec of the pods."""
    service, user = rendering.service, rendering.service.spec.pod_template
    variant = rendering.context.variant
    labels = names.service_labels(service.name, service.spec.family, variant)
    if rendering.context.revision:
        labels[names.REVISION_LABEL] = rendering.context.revision
    metadata: Manifest = {"labels": {**user.labels, **labels}}
    if user.annotations:
        metadata["annotations"] = dict(user.annotations)
    return {
        "metadata": metadata,
        "spec": {
            "initContainers": init_containers(rendering),
            "containers": [server_container(rendering)],
            "volumes": volumes(rendering, config_map),
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": _grace_s(rendering),
            **_security(rendering),
            **_scheduling(rendering),
        },
    }


def _grace_s(rendering: Rendering) -> int:
    return rendering.context.drain_delay_s + rendering.context.grace_s + SLACK_S


def _security(rendering: Rendering) -> Manifest:
    security = rendering.pool.spec.pod_security
    context: Manifest = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if security.supplemental_groups:
        context["supplementalGroups"] = list(security.supplemental_groups)
    return {
        "securityContext": context,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "hostUsers": security.host_users,
        "serviceAccountName": "default",
    }


def _scheduling(rendering: Rendering) -> Manifest:
    pool, user = rendering.pool.spec, rendering.service.spec.pod_template
    found: Manifest = {
        "nodeSelector": {**user.node_selector, **pool.node_selector},
        "tolerations": [_dump(each) for each in (*pool.tolerations, *user.tolerations)],
        "affinity": _affinity(rendering),
        "topologySpreadConstraints": _spread(rendering),
        "imagePullSecrets": [_dump(each) for each in user.image_pull_secrets],
        "priorityClassName": user.priority_class_name,
        "runtimeClassName": pool.runtime_class_name,
    }
    return {key: value for key, value in found.items() if value}


def _affinity(rendering: Rendering) -> Manifest:
    """Keep the pods together where their cache can be mounted on one node only."""
    asked = rendering.service.spec.pod_template.affinity
    wanted: Manifest = _dump(asked) if asked else {}
    if not _bound_to_one_node(rendering):
        return wanted
    together = {
        "labelSelector": {"matchLabels": names.selector_labels(rendering.service.name)},
        "topologyKey": HOSTNAME,
    }
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    pods = dict(wanted.get("podAffinity") or {})
    pods[key] = [*(pods.get(key) or []), together]
    return {**wanted, "podAffinity": pods}


def _spread(rendering: Rendering) -> list[Any]:
    user = rendering.service.spec.pod_template
    if user.topology_spread_constraints:
        return [_dump(each) for each in user.topology_spread_constraints]
    if _bound_to_one_node(rendering):
        return []
    labels = names.selector_labels(rendering.service.name, rendering.context.variant)
    return [
        {
            "maxSkew": 1,
            "topologyKey": HOSTNAME,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]


def _bound_to_one_node(rendering: Rendering) -> bool:
    cache = cache_of(rendering)
    return cache.type is CacheType.PERSISTENT_VOLUME_CLAIM and not cache.shared


def _dump(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
