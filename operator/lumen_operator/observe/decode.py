"""From plain objects of the watches to views: lenient, total, bounded.

A strange object never raises and a strange field counts as absent. Besides `subset` and the
door to the API server, nothing else of this package looks into plain dictionaries.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from lumen_cluster.kinds import Raw
from lumen_manifest.caller_names import FAMILIES, Claimant
from lumen_manifest.names import (
    PIN_ENV,
    REVISION_LABEL,
    SERVICE_LABEL,
    STABLE_VARIANT,
    VARIANT_LABEL,
)
from lumen_manifest.pod_reports import MAX_MESSAGE_BYTES
from lumen_operator.observe.views import (
    AutoscalerView,
    ClaimView,
    ContainerView,
    DeploymentView,
    NodeView,
    PodView,
    ReplicaSetView,
    RevisionView,
    Terminated,
)

HASH_LABEL = "pod-template-hash"
POD_LABELS = (SERVICE_LABEL, HASH_LABEL, REVISION_LABEL, VARIANT_LABEL)
"""The labels of pods, ReplicaSets and their templates that are read; `store` keeps no others."""
ROLLOUT_ANNOTATION = "deployment.kubernetes.io/revision"
WAITS_FOR_NODE = frozenset({"Unschedulable", "SchedulingGated", "SchedulerError"})
"""The scheduler's own words for a pod that it has looked at and that has no node."""
ITEMS_MAX = 1000
_NOTHING: Raw = {}


def read_pod(raw: Raw) -> PodView:
    """Read a pod of a service."""
    metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
    labels = mapping(metadata, "labels")
    conditions = {text(each, "type"): each for each in items(status, "conditions")}
    scheduled = conditions.get("PodScheduled", _NOTHING)
    waits, pins = text(scheduled, "reason") in WAITS_FOR_NODE, _pins(spec)
    return PodView(
        name=text(metadata, "name"),
        uid=text(metadata, "uid"),
        service=text(labels, SERVICE_LABEL),
        variant=text(labels, VARIANT_LABEL) or STABLE_VARIANT,
        namespace=text(metadata, "namespace"),
        template_hash=text(labels, HASH_LABEL),
        revision=text(labels, REVISION_LABEL),
        pins=pins,
        phase=text(status, "phase") or "Pending",
        reason=text(status, "reason"),
        message=text(status, "message"),
        ip=text(status, "podIP"),
        node=text(spec, "nodeName"),
        ready=text(conditions.get("Ready", _NOTHING), "status") == "True",
        terminating=bool(metadata.get("deletionTimestamp")),
        scheduled=text(scheduled, "status") == "True" or bool(text(spec, "nodeName")),
        unschedulable=(text(scheduled, "message") or text(scheduled, "reason")) if waits else "",
        created_at=moment(metadata, "creationTimestamp"),
        changed_at=latest(moment(each, "lastTransitionTime") for each in conditions.values()),
        containers=(
            *(_container(each, init=True) for each in items(status, "initContainerStatuses")),
            *(_container(each, init=False) for each in items(status, "containerStatuses")),
        ),
        requests=_requests(spec),
        config_maps=_config_maps(spec, pins),
        claims=frozenset(_claims(spec)),
    )


def read_claimant(raw: Raw) -> Claimant | None:
    """Read what a service says of its names; None of one that is about to be gone."""
    metadata, spec = mapping(raw, "metadata"), mapping(raw, "spec")
    family = text(spec, "family")
    if metadata.get("deletionTimestamp") or family not in FAMILIES:
        return None
    aliases = spec.get("aliases")
    listed = aliases[:ITEMS_MAX] if isinstance(aliases, list) else ()
    return Claimant(
        name=text(metadata, "name"),
        family=family,
        aliases=tuple(each for each in listed if isinstance(each, str)),
        default=spec.get("default") is True,
        model=text(mapping(spec, "model"), "name"),
        created=(text(metadata, "creationTimestamp"), 0),
    )


def read_replica_set(raw: Raw) -> ReplicaSetView:
    """Read a ReplicaSet of a service's Deployment."""
    metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
    template = mapping(spec, "template")
    pod = mapping(template, "spec")
    labels = mapping(mapping(template, "metadata"), "labels")
    rollout = text(mapping(metadata, "annotations"), ROLLOUT_ANNOTATION)
    owners = items(metadata, "ownerReferences")
    return ReplicaSetView(
        name=text(metadata, "name"),
        owner=text(owners[0], "uid") if owners else "",
        template_hash=text(mapping(metadata, "labels"), HASH_LABEL),
        rollout=_counted(rollout),
        revision=text(labels, REVISION_LABEL),
        forbidden=_replica_failure(status),
        forbidden_since=_replica_failure_since(status),
        config_maps=_config_maps(pod, _pins(pod)),
        variant=text(labels, VARIANT_LABEL) or STABLE_VARIANT,
    )


def read_deployment(raw: Raw) -> DeploymentView:
    """Read a variant's Deployment."""
    metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
    template = mapping(spec, "template")
    steps = mapping(mapping(spec, "strategy"), "rollingUpdate")
    return DeploymentView(
        name=text(metadata, "name"),
        uid=text(metadata, "uid"),
        generation=number(metadata, "generation"),
        observed_generation=number(status, "observedGeneration"),
        asked=number(spec, "replicas"),
        surges=str(steps.get("maxSurge")) not in {"0", "0%"},
        revision=text(mapping(mapping(template, "metadata"), "labels"), REVISION_LABEL),
        forbidden=_replica_failure(status),
    )


def read_node(raw: Raw) -> NodeView:
    """Read a node."""
    metadata, status = mapping(raw, "metadata"), mapping(raw, "status")
    said = next((c for c in items(status, "conditions") if text(c, "type") == "Ready"), _NOTHING)
    ready = text(said, "status") == "True"
    return NodeView(
        name=text(metadata, "name"),
        labels={str(k): str(v) for k, v in mapping(metadata, "labels").items()},
        allocatable=_whole(mapping(status, "allocatable")),
        ready=ready,
        trouble="" if ready else text(said, "message") or text(said, "reason"),
    )


def read_claim(raw: Raw) -> ClaimView:
    """Read a PersistentVolumeClaim."""
    return ClaimView(
        name=text(mapping(raw, "metadata"), "name"), phase=text(mapping(raw, "status"), "phase")
    )


def read_revision(raw: Raw) -> RevisionView:
    """Read a stored spec."""
    metadata = mapping(raw, "metadata")
    return RevisionView(
        name=text(metadata, "name"),
        uid=text(metadata, "uid"),
        number=number(raw, "revision"),
        spec=mapping(mapping(raw, "data"), "spec"),
    )


def read_autoscaler(raw: Raw) -> AutoscalerView:
    """Read what the HPA's controller says of its metrics."""
    for each in items(mapping(raw, "status"), "conditions"):
        if text(each, "type") == "ScalingActive":
            return AutoscalerView(
                scaling=text(each, "status"),
                reason=text(each, "reason"),
                message=text(each, "message"),
            )
    return AutoscalerView("", "", "")


def same_but_for_status(one: Raw, other: Raw) -> bool:
    """Return whether two states of an object differ in what its controller reports alone.

    That is the status, the version, and a Deployment's count of rollouts. They are compared as
    text, in which 0 is not false and an order is an order.
    """
    if one is other:
        return True
    try:
        return orjson.dumps(_without_status(one)) == orjson.dumps(_without_status(other))
    except TypeError:
        return False  # it holds what is not JSON: who knows


def mapping(raw: Any, key: str) -> Raw:
    """Return the mapping under a key, an empty one when there is none."""
    value = raw.get(key) if isinstance(raw, dict) else None
    return value if isinstance(value, dict) else _NOTHING


def labels_of(raw: Any) -> Raw:
    """Return an object's labels."""
    return mapping(mapping(raw, "metadata"), "labels")


def items(raw: Any, key: str) -> list[Raw]:
    """Return the mappings in the list under a key, a bounded number of them."""
    value = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(value, list):
        return []
    return [each for each in value[:ITEMS_MAX] if isinstance(each, dict)]


def text(raw: Any, key: str) -> str:
    """Return the text under a key, empty when there is none; never longer than a message."""
    value = raw.get(key) if isinstance(raw, dict) else None
    return value[:MAX_MESSAGE_BYTES] if isinstance(value, str) else ""


def number(raw: Any, key: str) -> int:
    """Return the whole number under a key, 0 when there is none."""
    value = raw.get(key) if isinstance(raw, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def moment(raw: Any, key: str) -> datetime | None:
    """Return the RFC 3339 time under a key."""
    return parse_time(text(raw, key))


def parse_time(value: str) -> datetime | None:
    """Read an RFC 3339 time; None when it is none."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def latest(moments: Iterator[datetime | None]) -> datetime | None:
    """Return the newest of those that are known."""
    return max((each for each in moments if each is not None), default=None)


def _without_status(raw: Raw) -> Raw:
    metadata = mapping(raw, "metadata")
    notes = mapping(metadata, "annotations")
    kept = {k: v for k, v in metadata.items() if k not in {"resourceVersion", "annotations"}}
    kept["annotations"] = {k: v for k, v in notes.items() if k != ROLLOUT_ANNOTATION}
    return {**{k: v for k, v in raw.items() if k != "status"}, "metadata": kept}


def _container(raw: Raw, *, init: bool) -> ContainerView:
    state = mapping(raw, "state")
    waiting, running = mapping(state, "waiting"), mapping(state, "running")
    return ContainerView(
        name=text(raw, "name"),
        init=init,
        ready=raw.get("ready") is True,
        restarts=number(raw, "restartCount"),
        waiting=text(waiting, "reason"),
        waiting_message=text(waiting, "message"),
        running="running" in state,
        started_at=moment(running, "startedAt"),
        ended=_ended(state),
        ended_before=_ended(mapping(raw, "lastState")),
    )


def _ended(state: Raw) -> Terminated | None:
    if not isinstance(state.get("terminated"), dict):
        return None
    run = mapping(state, "terminated")
    return Terminated(
        exit_code=number(run, "exitCode"),
        reason=text(run, "reason"),
        message=text(run, "message"),
        finished_at=moment(run, "finishedAt"),
    )


def _replica_failure(status: Raw) -> str:
    """Return why pods cannot be created, empty when they can."""
    for each in items(status, "conditions"):
        if text(each, "type") == "ReplicaFailure" and text(each, "status") == "True":
            return text(each, "message") or text(each, "reason") or "unknown"
    return ""


def _replica_failure_since(status: Raw) -> datetime | None:
    """Return since when pods cannot be created."""
    failures = (c for c in items(status, "conditions") if text(c, "type") == "ReplicaFailure")
    return latest(moment(each, "lastTransitionTime") for each in failures)


def _pins(pod_spec: Raw) -> str:
    """Return the ConfigMap that the pod's pins come from."""
    variable = next(iter(PIN_ENV))
    for container in items(pod_spec, "initContainers"):
        for entry in items(container, "env"):
            if text(entry, "name") == variable:
                return text(mapping(mapping(entry, "valueFrom"), "configMapKeyRef"), "name")
    return ""


def _config_maps(pod_spec: Raw, pins: str) -> frozenset[str]:
    """Return the ConfigMaps that a pod cannot do without: its volumes', and its pins."""
    mounted = (text(mapping(v, "configMap"), "name") for v in items(pod_spec, "volumes"))
    return frozenset(name for name in (*mounted, pins) if name)


def _claims(pod_spec: Raw) -> Iterator[str]:
    for volume in items(pod_spec, "volumes"):
        name = text(mapping(volume, "persistentVolumeClaim"), "claimName")
        if name:
            yield name


def _requests(pod_spec: Raw) -> dict[str, int]:
    """Return the devices that a pod holds: its containers' together, or its largest init's."""
    total: dict[str, int] = {}
    for container in items(pod_spec, "containers"):
        for name, count in _asked(container).items():
            total[name] = total.get(name, 0) + count
    for container in items(pod_spec, "initContainers"):
        for name, count in _asked(container).items():
            total[name] = max(total.get(name, 0), count)
    return total


def _asked(container: Raw) -> dict[str, int]:
    resources = mapping(container, "resources")
    return _whole({**mapping(resources, "limits"), **mapping(resources, "requests")})


def _whole(quantities: Raw) -> dict[str, int]:
    """Return the whole numbers: extended resources have no others."""
    found: dict[str, int] = {}
    for name, amount in quantities.items():
        value = str(amount)
        if _is_count(value):
            found[str(name)] = int(value)
    return found


def _counted(value: str) -> int:
    return int(value) if _is_count(value) else 0


def _is_count(value: str) -> bool:
    """Return whether a text is a whole number of a size that anybody counts to."""
    return value.isascii() and value.isdigit() and len(value) < 16
