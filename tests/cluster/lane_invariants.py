"""What must be so at every quiet point, of all that one lane holds: read off the plain objects.

No code of the operator is asked here; lane_decisions.py does that.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.nodes import BEHAVIOUR, Behaviour
from lane_sight import Seen

from lumen_cluster.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HEADLESS,
    HPAS,
    NETWORK_POLICIES,
    PDBS,
    PODS,
    REPLICA_SETS,
    REVISIONS,
)
from lumen_manifest.names import PINS_INFIX, SERVICE_LABEL
from lumen_operator.observe.kinds import CHILD_KINDS, OBSERVED_KINDS, SERVICES

Raw = Mapping[str, Any]

REVISIONS_KEPT = 5
REJECTED = ("RolledBack", "RolloutStalled")
READY_NEEDS = ("Accepted", "ResourcesReady", "DeviceReady", "Available")


def broken(seen: Seen) -> list[str]:
    """Return what is not as it must be; nothing when all is well."""
    checks = (untrue, lazy, miscounted, strays, unused)
    return [said for check in checks for said in check(seen)]


def untrue(seen: Seen) -> Iterator[str]:
    for raw in seen.services:
        name = raw["metadata"]["name"]
        for said in _untrue_of(seen, raw, seen.pods(name)):
            yield f"{name}: {said}"


def _is_told(reason: str, conditions: Mapping[str, Raw], ready: bool) -> bool:
    """Tell whether a status gives a reason where, and only where, not all is as asked."""
    rejected = conditions.get("Progressing", {}).get("reason") in REJECTED
    degraded = conditions["Available"].get("reason") == "Degraded"
    return bool(reason) if rejected or degraded else (reason == "") == ready


def _untrue_of(seen: Seen, raw: Raw, pods: tuple[Raw, ...]) -> Iterator[str]:
    """Compare a status with what is there."""
    status, generation = raw.get("status", {}), raw["metadata"]["generation"]
    if status.get("observedGeneration") != generation:
        yield f"its status is about generation {status.get('observedGeneration')}"
        return
    conditions = {each["type"]: each for each in status["conditions"]}
    for type_ in ("Accepted", "Ready"):
        if conditions[type_].get("observedGeneration") != generation:
            yield f"{type_} is about generation {conditions[type_].get('observedGeneration')}"
    ready = all(conditions[each]["status"] == "True" for each in READY_NEEDS)
    if (conditions["Ready"]["status"] == "True") != ready:
        yield "Ready is not what its conditions say"
    if not _is_told(status.get("reason", ""), conditions, ready):
        yield f"its reason is {status.get('reason')!r}"
    if "external" in raw["spec"]:
        return
    serving = sum(_is_ready(pod) for pod in pods)
    counts = status.get("replicas", 0), status.get("readyReplicas", 0), status.get("ready")
    if counts != (len(pods), serving, f"{serving}/{raw['spec']['replicas']}"):
        yield f"it counts {counts}, there are {len(pods)} pods, {serving} ready"
    if (conditions["Available"]["status"] == "True") != bool(serving):
        yield f"Available is {conditions['Available']['status']} with {serving} ready pods"


def lazy(seen: Seen) -> Iterator[str]:
    """Find services that nothing holds and that do not serve all the same."""
    for raw in seen.services:
        spec, status = raw["spec"], raw.get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        if conditions.get("Accepted") != "True" or _is_held(seen, raw):
            continue
        if conditions["Ready"] != "True" or status["readyReplicas"] != spec["replicas"]:
            yield f"{raw['metadata']['name']}: nothing holds it, and it is {status['ready']}"


def _is_held(seen: Seen, raw: Raw) -> bool:
    """Return whether something that a script did keeps a service from serving as asked."""
    spec = raw["spec"]
    template = spec.get("podTemplate", {})
    if "external" in spec or not spec["replicas"]:
        return True
    if template.get("nodeSelector") or spec.get("cache", {}).get("claimName"):
        return True
    if seen.cards_asked() > seen.cards_offered():
        return True
    notes = [template, *(pod["metadata"] for pod in seen.pods(raw["metadata"]["name"]))]
    said = {each.get("annotations", {}).get(BEHAVIOUR, Behaviour.READY) for each in notes}
    return not said <= {Behaviour.READY, Behaviour.SLOW}


def miscounted(seen: Seen) -> Iterator[str]:
    """Compare what the pool of cards counts with the node and the pods there are."""
    for raw in seen.pools:
        if not raw["metadata"]["name"].endswith("-cards"):
            continue
        offered, held = seen.cards_offered(), seen.cards_held()
        status = raw.get("status", {})
        counted = status.get("nodes"), status.get("devices")
        if counted != (1, {"allocatable": offered, "allocated": held}):
            yield f"its pool counts {counted}, there are {offered} devices, {held} held"


def strays(seen: Seen) -> Iterator[str]:
    """Find children without their service, and children that are there twice.

    One whose owner or label a script took away may stay, where it is rendered no more.
    """
    owners = {
        each["metadata"]["uid"]
        for kind in (SERVICES, *OBSERVED_KINDS)
        for each in seen.found.all(kind, seen.namespace)
    }
    for kind in OBSERVED_KINDS:
        for each in seen.found.all(kind, seen.namespace):
            metadata = each["metadata"]
            if SERVICE_LABEL not in metadata.get("labels", {}):
                continue
            controls = {o["uid"] for o in metadata.get("ownerReferences", ()) if o["controller"]}
            if controls.isdisjoint(owners) and metadata["uid"] not in seen.mislaid:
                yield f"{kind.plural} {metadata['name']} belongs to nobody"
    for raw in seen.services:
        yield from _twice(seen, raw)


def unused(seen: Seen) -> Iterator[str]:
    """Find children that nothing needs any more: settings of no pod, or a moved service's."""
    users = (DEPLOYMENTS, REPLICA_SETS, PODS)
    used = {
        name
        for kind in users
        for each in seen.found.all(kind, seen.namespace)
        for name in mounted(each["spec"].get("template", each)["spec"])
    }
    for raw in seen.services:
        name, external = raw["metadata"]["name"], "external" in raw["spec"]
        conditions = raw.get("status", {}).get("conditions", ())
        if not any(c["type"] == "Accepted" and c["status"] == "True" for c in conditions):
            continue
        for kind in CHILD_KINDS if external else (CONFIG_MAPS,):
            for each in seen.found.of_service(kind, seen.namespace, name):
                child, uid = each["metadata"]["name"], each["metadata"]["uid"]
                needed = not external and (PINS_INFIX in child or child in used)
                if not needed and uid not in seen.mislaid:
                    yield f"{name}: nothing needs {kind.plural} {child}"


def _twice(seen: Seen, raw: Raw) -> Iterator[str]:
    name = raw["metadata"]["name"]
    for kind in (DEPLOYMENTS, HEADLESS, PDBS, NETWORK_POLICIES, HPAS):
        found = [
            each
            for each in seen.found.of_service(kind, seen.namespace, name)
            if each["metadata"]["uid"] not in seen.mislaid
        ]
        if len(found) > 1:
            yield f"{name} has {len(found)} {kind.plural}"
    numbers = [each["revision"] for each in seen.found.of_service(REVISIONS, seen.namespace, name)]
    if len(numbers) > REVISIONS_KEPT or len(set(numbers)) < len(numbers):
        yield f"{name} has revisions {sorted(numbers)}"


def mounted(pod: Raw) -> Iterator[str]:
    """Yield the ConfigMaps that a pod's spec mounts."""
    for volume in pod.get("volumes", ()):
        sources = [volume, *volume.get("projected", {}).get("sources", ())]
        yield from (each["configMap"]["name"] for each in sources if "configMap" in each)


def _is_ready(pod: Raw) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
