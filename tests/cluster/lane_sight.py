"""What one lane holds at one moment, and the versions by which a change shows."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from controlplane.cluster import Cluster
from lanes import Lane
from operator_lab import CARD
from operator_world import Objects

from lumen_cluster.kinds import DEPLOYMENTS, HPAS, NODES, PDBS, PODS, collection_path
from lumen_operator.children.desired import OperatorContext
from lumen_operator.observe.kinds import (
    CHILD_KINDS,
    OBSERVED_KINDS,
    POOLS,
    SERVICES,
    WATCHED_KINDS,
)

Raw = Mapping[str, Any]


class Listed(Objects):
    """All that there is at one moment, as the watches would hold it."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        for kind in WATCHED_KINDS:
            for each in (cluster.get(collection_path(kind, "")) or {"items": []})["items"]:
                metadata = each["metadata"]
                key = (kind.plural, metadata.get("namespace", ""), metadata["name"])
                # Items of a list name no kind; those of a watch do.
                self.objects[key] = {"apiVersion": kind.api_version, "kind": kind.kind, **each}


class Seen:
    """Everything of one lane at one moment."""

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
        self.mislaid = lane.mislaid
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

    def pods(self, service: str) -> tuple[Raw, ...]:
        """Return a service's pods that are neither over nor told to end."""
        return tuple(
            pod
            for pod in self.found.of_service(PODS, self.namespace, service)
            if not pod["metadata"].get("deletionTimestamp")
            and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
        )

    def cards_asked(self) -> int:
        """Count the devices that the services want, and those of them that moved still hold."""
        wanted = sum(
            raw["spec"]["replicas"]
            for raw in self.services
            if raw["spec"].get("pool", "").endswith("-cards")
        )
        return max(wanted, self.cards_held())

    def cards_held(self) -> int:
        return sum(
            int(container.get("resources", {}).get("limits", {}).get(CARD, 0))
            for pod in self.found.all(PODS, self.namespace)
            if pod["spec"].get("nodeName")
            and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
            for container in pod["spec"]["containers"]
        )

    def cards_offered(self) -> int:
        node = self.found.get(NODES, "", f"{self.namespace}-cards")
        return int(node["status"]["allocatable"][CARD]) if node is not None else 0


def events_by_namespace(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Return what the operator's events say, by namespace."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for each in (cluster.get("/apis/events.k8s.io/v1/events") or {"items": []})["items"]:
        if "lumen" in each.get("reportingController", ""):
            said = f"{each.get('reason')}: {each.get('note')}"
            found[each["metadata"]["namespace"]][f"event {each['metadata']['name']}"] = said
    return found
