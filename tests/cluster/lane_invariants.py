"""What must be so at every quiet point, of all that one namespace holds.

Some of it is asked of the operator's own pure functions on what the API server has now (nothing
left to write), some of the API server (a dry-run apply changes nothing), and the rest is read off
the plain objects without any code of the operator.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from controlplane.cluster import Cluster
from decisions_by_hand import APPLY, HEADERS, Listed
from lanes import Lane

from lumen_manifest.names import SERVICE_LABEL
from lumen_operator.decide import OperatorContext, decide_pool, decide_service
from lumen_operator.kinds import (
    CHILD_KINDS,
    DEPLOYMENTS,
    HEADLESS,
    HPAS,
    NETWORK_POLICIES,
    OBSERVED_KINDS,
    PDBS,
    PODS,
    POOLS,
    REVISIONS,
    SERVICES,
    Key,
    Kind,
    kind_of,
)
from lumen_operator.observe import gather_pool, gather_service
from lumen_operator.plan import render_children
from lumen_operator.rollout import plan_rollout

Raw = Mapping[str, Any]

REVISIONS_KEPT = 5
READY_NEEDS = ("Accepted", "ResourcesReady", "DeviceReady", "Available")


class Seen:
    """Everything of one namespace at one moment."""

    def __init__(
        self,
        cluster: Cluster,
        lane: Lane,
        context: OperatorContext,
        found: Listed,
        events: Mapping[str, str],
    ) -> None:
        """Look at a lane in what was listed of all namespaces."""
        self.cluster = cluster
        self.namespace = lane.namespace
        self.disowned = lane.disowned
        self.context = context
        self.found = found
        self.events = events

    @property
    def services(self) -> tuple[Raw, ...]:
        """The LumenModelServices."""
        return self.found.all(SERVICES, self.namespace)

    @property
    def pools(self) -> tuple[Raw, ...]:
        """The lane's pools."""
        return tuple(
            each
            for each in self.found.all(POOLS)
            if each["metadata"]["name"].startswith(self.namespace)
        )

    def problems(self) -> list[str]:
        """Return what is not as it must be; nothing when all is well."""
        return [*self._undecided(), *self._untrue(), *self._strays()]

    def reasons(self) -> list[str]:
        """Return what the services' conditions say."""
        return [
            f"{each['type']}={each['reason']}"
            for raw in self.services
            for each in raw.get("status", {}).get("conditions", ())
        ]

    def surroundings(self) -> dict[str, str]:
        """Return the version of what others write: pods, their owners' progress, specs."""
        versions = {
            f"{kind.plural} {each['metadata']['name']}": str(each["metadata"]["resourceVersion"])
            for kind in OBSERVED_KINDS
            if kind not in CHILD_KINDS
            for each in self.found.all(kind, self.namespace)
        }
        for kind in (DEPLOYMENTS, HPAS, PDBS):
            for each in self.found.all(kind, self.namespace):
                versions[f"{kind.plural} {each['metadata']['name']}"] = str(each.get("status"))
        for each in self.services:
            name, generation = each["metadata"]["name"], each["metadata"]["generation"]
            versions[f"service {name}"] = str(generation)
        services = {each["metadata"]["uid"] for each in self.services}
        for kind in CHILD_KINDS:
            for each in self.found.all(kind, self.namespace):
                owners = {o["uid"] for o in each["metadata"].get("ownerReferences", ())}
                if owners and owners.isdisjoint(services):
                    versions[f"collected {kind.plural} {each['metadata']['name']}"] = "waits"
        return versions

    def written(self) -> dict[str, str]:
        """Return the version of everything that the operator writes."""
        versions = {
            f"{kind.plural} {each['metadata']['name']}": str(each["metadata"]["resourceVersion"])
            for kind in (SERVICES, *CHILD_KINDS)
            for each in self.found.all(kind, self.namespace)
        }
        for each in self.pools:
            name = each["metadata"]["name"]
            versions[f"pool {name}"] = str(each["metadata"]["resourceVersion"])
        return versions | self.events

    def would_change(self) -> list[str]:
        """Return what an apply of the rendered children would change, by the API server's word."""
        return [
            f"an apply of {kind_of(each).kind} {each['metadata']['name']} would change it"
            for key in self._keys()
            for each in self._rendered(key)
            if self._applied(each)
        ]

    def _keys(self) -> Iterator[Key]:
        for raw in self.services:
            yield Key("service", self.namespace, raw["metadata"]["name"])

    def _undecided(self) -> Iterator[str]:
        """Say what the operator would still write if it saw all that there is."""
        now = datetime.now(UTC)
        for key in self._keys():
            observed = gather_service(self.found, {}, key, now)
            assert observed is not None
            decision = decide_service(observed, self.context, now)
            for each in decision.apply:
                what = f"{kind_of(each).kind} {each['metadata']['name']}"
                yield f"{key.name}: {what} is to be applied"
            for ref in decision.delete:
                yield f"{key.name}: {ref.plural} {ref.name} is to be deleted"
            if decision.status is not None:
                was = observed.raw.get("status", {})
                yield f"{key.name}: its status is to be written: {difference(was, decision.status)}"
        for raw in self.pools:
            pool = gather_pool(self.found, Key("pool", "", raw["metadata"]["name"]))
            if pool is not None and decide_pool(pool, now).status is not None:
                yield f"pool {pool.key.name}: its status is to be written"

    def _rendered(self, key: Key) -> tuple[dict[str, Any], ...]:
        observed = gather_service(self.found, {}, key, datetime.now(UTC))
        if observed is None or observed.service is None or observed.service.spec.external:
            return ()
        service = observed.service
        pool = observed.pools.get(service.spec.pool or "")
        if pool is None or service.spec.model.runtime not in pool.spec.runtimes:
            return ()
        return render_children(observed, plan_rollout(observed, service, pool), self.context)

    def _applied(self, manifest: dict[str, Any]) -> bool:
        """Apply in a dry run; return whether the object would be another one."""
        kind, name = kind_of(manifest), manifest["metadata"]["name"]
        path = f"{path_of(kind, self.namespace)}/{name}"
        answer = self.cluster.http.patch(
            path, json=manifest, params={**APPLY, "dryRun": "All"}, headers=HEADERS
        )
        assert answer.is_success, answer.text
        stored = self.found.get(kind, self.namespace, name)
        return stored is None or _content(stored) != _content(answer.json())

    def _untrue(self) -> Iterator[str]:
        for raw in self.services:
            name = raw["metadata"]["name"]
            for said in self._untrue_of(raw, self.pods(name)):
                yield f"{name}: {said}"

    def pods(self, service: str) -> tuple[Raw, ...]:
        """Return a service's pods that are neither over nor told to end."""
        return tuple(
            pod
            for pod in self.found.of_service(PODS, self.namespace, service)
            if not pod["metadata"].get("deletionTimestamp")
            and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
        )

    def _untrue_of(self, raw: Raw, pods: tuple[Raw, ...]) -> Iterator[str]:
        """Compare a status with what is there."""
        status, generation = raw.get("status", {}), raw["metadata"]["generation"]
        if status.get("observedGeneration") != generation:
            yield f"its status is about generation {status.get('observedGeneration')}"
            return
        conditions = {each["type"]: each for each in status["conditions"]}
        for type_, each in conditions.items():
            if each.get("observedGeneration") != generation:
                yield f"{type_} is about generation {each.get('observedGeneration')}"
        ready = all(conditions[each]["status"] == "True" for each in READY_NEEDS)
        if (conditions["Ready"]["status"] == "True") != ready:
            yield "Ready is not what its conditions say"
        if (status.get("reason", "") == "") != ready:
            yield f"its reason is {status.get('reason')!r}"
        if "external" in raw["spec"]:
            return
        serving = sum(_is_ready(pod) for pod in pods)
        counts = status.get("replicas", 0), status.get("readyReplicas", 0), status.get("ready")
        if counts != (len(pods), serving, f"{serving}/{raw['spec']['replicas']}"):
            yield f"it counts {counts}, there are {len(pods)} pods, {serving} ready"
        if (conditions["Available"]["status"] == "True") != bool(serving):
            yield f"Available is {conditions['Available']['status']} with {serving} ready pods"

    def _strays(self) -> Iterator[str]:
        """Find children without their service, and children that are there twice.

        One whose owner a script took away stays when its service goes before it is repaired.
        """
        owners = {
            each["metadata"]["uid"]
            for kind in (SERVICES, *OBSERVED_KINDS)
            for each in self.found.all(kind, self.namespace)
        }
        for kind in OBSERVED_KINDS:
            for each in self.found.all(kind, self.namespace):
                metadata = each["metadata"]
                if SERVICE_LABEL not in metadata.get("labels", {}):
                    continue
                controls = [
                    o["uid"] for o in metadata.get("ownerReferences", ()) if o["controller"]
                ]
                if not controls or controls[0] not in owners:
                    yield f"{kind.plural} {metadata['name']} belongs to nobody"
        for raw in self.services:
            yield from self._twice(raw)

    def _twice(self, raw: Raw) -> Iterator[str]:
        name = raw["metadata"]["name"]
        for kind in (DEPLOYMENTS, HEADLESS, PDBS, NETWORK_POLICIES, HPAS):
            found = self.found.of_service(kind, self.namespace, name)
            if len(found) > 1:
                yield f"{name} has {len(found)} {kind.plural}"
        numbers = [
            each["revision"] for each in self.found.of_service(REVISIONS, self.namespace, name)
        ]
        if len(numbers) > REVISIONS_KEPT or len(set(numbers)) < len(numbers):
            yield f"{name} has revisions {sorted(numbers)}"


def events_by_namespace(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Return what the operator's events say, by namespace."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for each in (cluster.get("/apis/events.k8s.io/v1/events") or {"items": []})["items"]:
        if "lumen" in each.get("reportingController", ""):
            said = f"{each.get('reason')}: {each.get('note')}"
            found[each["metadata"]["namespace"]][f"event {each['metadata']['name']}"] = said
    return found


def path_of(kind: Kind, namespace: str) -> str:
    """Return the API path of a kind's objects in a namespace."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}"


def difference(was: Any, shall: Any, at: str = "") -> str:
    """Return where two documents differ."""
    if isinstance(was, Mapping) and isinstance(shall, Mapping):
        keys = sorted({*was, *shall})
        parts = (difference(was.get(k), shall.get(k), f"{at}.{k}") for k in keys)
        return "; ".join(filter(None, parts))
    if isinstance(was, list) and isinstance(shall, list | tuple) and len(was) == len(shall):
        parts = (
            difference(a, b, f"{at}[{n}]") for n, (a, b) in enumerate(zip(was, shall, strict=True))
        )
        return "; ".join(filter(None, parts))
    return "" if was == shall else f"{at}: {was!r} -> {shall!r}"


def _content(raw: Raw) -> dict[str, Any]:
    """Return an object without what every write changes."""
    metadata = {
        k: v for k, v in raw["metadata"].items() if k not in {"managedFields", "generation"}
    }
    return {**raw, "metadata": metadata}


def _is_ready(pod: Raw) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
