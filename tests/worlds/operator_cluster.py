"""A cluster in small: what Kubernetes' controllers do with a service's children, step by step.

The Deployment controller's steps are those of `pkg/controller/deployment/rolling.go`: the new
ReplicaSet grows up to the surge, old ones shrink down to what must stay available, unhealthy pods
first. The scheduler hands out devices, the kubelet runs pods to what their spec leads to. Each is
one method, so that a test may call them in any order and any number of times.
"""

import copy
import json
import re
from dataclasses import dataclass
from typing import Any

from operator_world import (
    NAMESPACE,
    OTHER_SPACE,
    SPACE,
    World,
    ended_badly,
    ended_well,
    failure,
    running,
    stamp,
    unschedulable,
    verified,
)

from lumen_cluster.kinds import DEPLOYMENTS, PODS, REPLICA_SETS, REVISIONS
from lumen_manifest.names import REVISION_LABEL
from lumen_operator.observe.kinds import Key

GPU = "nvidia.com/gpu"
GOOD_BATCHES, CRASHING_BATCH = (8, 16, 32), 13
SAME_SPACE, FOREIGN_SPACE, MISSING = "MobileCLIP2-S2", "MobileCLIP2-S4", "Misspelt"

ACTORS = ("operator", "deployment_controller", "replica_set_controller", "scheduler", "kubelet")

Raw = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """Something that happens: `what` names the method, `how` is what it is called with."""

    what: str
    how: tuple[Any, ...] = ()


class Cluster(World):
    """A world in which things happen. `key` is the one service, `other_devices` are taken."""

    def __init__(self, *, devices: int | None) -> None:
        super().__init__()
        self.pool()
        self.gpu_pool()
        self.on_gpu = devices is not None
        self.set_devices(devices or 0)
        self.made = 0
        self.sizes: dict[str, int] = {}
        self.specs: dict[str, Raw] = {}
        self.key = Key("service", NAMESPACE, "clip")

    # What people do.

    def respecify(self, spec: Raw) -> None:
        self.service(**spec)

    def set_devices(self, count: int) -> None:
        labels = {"gpu": "yes"}
        self.node("n1", devices=count, labels=labels)

    def take_devices(self, count: int) -> None:
        """Let pods of another service hold some of the free devices."""
        for number in range(min(count, self.free())):
            asked = {"limits": {GPU: "1"}, "requests": {GPU: "1"}}
            labels = {"lumen.dev/service": "other"}
            self.put(
                PODS,
                {
                    "metadata": {
                        "name": f"other-{number}",
                        "namespace": NAMESPACE,
                        "labels": labels,
                    },
                    "spec": {"nodeName": "n1", "containers": [{"name": "x", "resources": asked}]},
                    "status": {"phase": "Running"},
                },
            )

    def kill(self, index: int) -> None:
        pods = self.pods()
        if pods:
            self.remove(PODS, pods[index % len(pods)]["metadata"]["name"])

    # What the controllers do.

    def deployment_controller(self) -> None:
        for deployment in self.all(DEPLOYMENTS):
            new = self.replica_set(self.key)
            self._own(new)
            old = [each for each in self.all(REPLICA_SETS) if each is not new]
            self._scale(deployment, new, old)
            self._count(deployment, new)

    def _own(self, new: Raw) -> None:
        new["spec"]["replicas"] = self.sizes.get(new["metadata"]["name"], 0)
        rollouts = [
            int(each["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
            for each in self.all(REPLICA_SETS)
            if each is not new
        ]
        newest = str(max([0, *rollouts]) + 1)
        annotations = new["metadata"]["annotations"]
        if int(annotations["deployment.kubernetes.io/revision"]) < int(newest):
            annotations["deployment.kubernetes.io/revision"] = newest

    def _resize(self, each: Raw, size: int) -> None:
        each["spec"]["replicas"] = size
        self.sizes[each["metadata"]["name"]] = size

    def _scale(self, deployment: Raw, new: Raw, old: list[Raw]) -> None:
        wanted = deployment["spec"]["replicas"]
        steps = deployment["spec"]["strategy"]["rollingUpdate"]
        total = new["spec"]["replicas"] + sum(each["spec"]["replicas"] for each in old)
        if new["spec"]["replicas"] > wanted:
            self._resize(new, wanted)
        elif (room := wanted + steps["maxSurge"] - total) > 0:
            size = new["spec"]["replicas"]
            self._resize(new, size + min(room, wanted - size))
        self._shrink(new, old, wanted - steps["maxUnavailable"])

    def _shrink(self, new: Raw, old: list[Raw], must_serve: int) -> None:
        ready_new = sum(serves(pod) for pod in self.pods_of(new))
        total = new["spec"]["replicas"] + sum(each["spec"]["replicas"] for each in old)
        most = total - must_serve - (new["spec"]["replicas"] - ready_new)
        if most <= 0:
            return
        for each in old:
            sick = each["spec"]["replicas"] - sum(serves(pod) for pod in self.pods_of(each))
            gone = max(0, min(sick, most))
            self._resize(each, each["spec"]["replicas"] - gone)
            most -= gone
        spare = ready_new + sum(serves(p) for each in old for p in self.pods_of(each)) - must_serve
        for each in old:
            gone = max(0, min(spare, each["spec"]["replicas"]))
            self._resize(each, each["spec"]["replicas"] - gone)
            spare -= gone

    def _count(self, deployment: Raw, new: Raw) -> None:
        pods = [pod for pod in self.pods() if not ends(pod)]
        fresh = [pod for pod in pods if pod in self.pods_of(new)]
        ready = sum(serves(pod) for pod in pods)
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(fresh),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }

    def replica_set_controller(self) -> None:
        for each in self.all(REPLICA_SETS):
            pods = sorted(self.pods_of(each), key=lambda pod: (serves(pod), has_node(pod)))
            size = each["spec"].get("replicas", 0)
            for pod in pods[: max(0, len(pods) - size)]:
                self.end(pod)
            for _ in range(size - len(pods)):
                self._make_pod(each)

    def _make_pod(self, owner: Raw) -> None:
        self.made += 1
        self.put(
            PODS,
            {
                "metadata": {
                    "name": f"clip-{self.made}",
                    "namespace": NAMESPACE,
                    "labels": copy.deepcopy(owner["metadata"]["labels"]),
                    "ownerReferences": [{"uid": owner["metadata"]["uid"], "controller": True}],
                },
                "spec": copy.deepcopy(owner["spec"]["template"]["spec"]),
                "status": {"phase": "Pending"},
            },
        )

    def end(self, pod: Raw) -> None:
        """Tell a pod to end: at once where it has no node, after its drain else."""
        if has_node(pod):
            pod["metadata"]["deletionTimestamp"] = stamp(self.now)
        else:
            self.remove(PODS, pod["metadata"]["name"])

    def scheduler(self) -> None:
        for pod in self.pods():
            if has_node(pod) or ends(pod):
                continue
            if wants_gpu(pod) and self.free() < 1:
                message = f"0/1 nodes are available: 1 Insufficient {GPU}."
                pod["status"] = {"phase": "Pending", "conditions": unschedulable(message)}
            else:
                pod["spec"]["nodeName"] = "n1"
                pod["status"] = {"phase": "Pending", "podIP": "10.0.0.1"}

    def kubelet(self) -> None:
        """Bring each pod one step further."""
        for pod in self.pods():
            if ends(pod):
                self.remove(PODS, pod["metadata"]["name"])
            elif has_node(pod):
                self._run(pod)

    def _run(self, pod: Raw) -> None:
        spec = self.spec_of(pod["metadata"]["labels"][REVISION_LABEL])
        status = pod["status"]
        model = spec["model"]["name"]
        inits = status.get("initContainerStatuses")
        if not inits:
            status["initContainerStatuses"] = [running("resources", self.now)]
        elif model == MISSING:
            times = min(9, inits[0].get("restartCount", 0) + 1)
            words = failure("RepositoryNotFound")
            status["initContainerStatuses"] = [ended_badly("resources", words, restarts=times)]
        elif "running" in inits[0]["state"]:
            space = SPACE if model == SAME_SPACE else OTHER_SPACE
            words = verified(revision=model, digest=model.ljust(64, "0"), embeddingSpace=space)
            status["initContainerStatuses"] = [ended_well("resources", words, self.now)]
        else:
            self._serve(status, crashes=spec["server"]["maxBatchSize"] == CRASHING_BATCH)

    def _serve(self, status: Raw, *, crashes: bool) -> None:
        servers = status.get("containerStatuses")
        if not servers:
            status["containerStatuses"] = [running("server", self.now)]
        elif crashes:
            times = min(9, servers[0].get("restartCount", 0) + 1)
            status["containerStatuses"] = [ended_badly("server", "boom", restarts=times)]
        elif not servers[0].get("ready"):
            status["phase"] = "Running"
            at = stamp(self.now)
            status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": at}]
            status["containerStatuses"] = [{**running("server", self.now), "ready": True}]

    def spec_of(self, revision: str) -> Raw:
        """Find what a revision runs; pods may outlive the stored one."""
        stored = self.get(REVISIONS, NAMESPACE, revision)
        if stored is not None:
            self.specs[revision] = stored["data"]["spec"]
        return self.specs[revision]

    # Reading it.

    def pods(self) -> list[Raw]:
        return list(self.of_service(PODS, NAMESPACE, "clip"))

    def pods_of(self, owner: Raw) -> list[Raw]:
        uid = owner["metadata"]["uid"]
        return [
            pod
            for pod in self.pods()
            if pod["metadata"]["ownerReferences"][0]["uid"] == uid and not ends(pod)
        ]

    def serving(self) -> int:
        return sum(serves(pod) for pod in self.pods())

    def free(self) -> int:
        """Count the devices that no pod on the node holds."""
        offered = int(self.objects["nodes", "", "n1"]["status"]["allocatable"].get(GPU, "0"))
        held = sum(has_node(pod) and wants_gpu(pod) for pod in self.all(PODS))
        return offered - held

    def room(self) -> int:
        """Count the devices that the service's pods hold or may hold; none is taken away again."""
        mine = sum(has_node(pod) and wants_gpu(pod) for pod in self.pods())
        return max(mine, self.free() + mine)

    def has_deployment(self) -> bool:
        return self.get(DEPLOYMENTS, NAMESPACE, "clip-stable") is not None

    def get_spec(self) -> Raw:
        return dict(self.objects["lumenmodelservices", NAMESPACE, "clip"]["spec"])

    def asked_revision(self) -> str:
        """Name the revision of the spec as it is now: the newest one."""
        newest = max(self.all(REVISIONS), key=lambda each: each["revision"])
        return str(newest["metadata"]["name"])

    def fails(self, spec: Raw) -> bool:
        """Tell whether pods of a spec never serve."""
        return spec["model"]["name"] == MISSING or spec["server"]["maxBatchSize"] == CRASHING_BATCH

    def fingerprint(self) -> str:
        """Tell one state from another; moments and counted restarts do not matter."""
        text = json.dumps([[*key, each] for key, each in sorted(self.objects.items())])
        text = re.sub(r"20\d\d-\d\d-\d\dT[0-9:]+Z", "", text)
        return re.sub(r'"restartCount": \d+|, \d restarts', "", text)


def serves(pod: Raw) -> bool:
    return pod["status"].get("phase") == "Running" and not ends(pod)


def ends(pod: Raw) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def has_node(pod: Raw) -> bool:
    return bool(pod["spec"].get("nodeName"))


def wants_gpu(pod: Raw) -> bool:
    return any(GPU in c.get("resources", {}).get("limits", {}) for c in pod["spec"]["containers"])
