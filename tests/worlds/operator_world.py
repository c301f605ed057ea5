"""A world for the operator's decisions: plain objects in a dictionary, and builders of them.

`World` answers as the watches' memory does and takes decisions as the API server does: what is
applied is merged and gets a uid, a changed spec another generation. Nothing happens by itself;
`operator_cluster` adds the controllers.
"""

import copy
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster_objects import a_service

from lumen_cluster.kinds import CLAIMS, DEPLOYMENTS, NODES, PODS, REPLICA_SETS, ObjectKind
from lumen_manifest.caller_names import CallerNames
from lumen_manifest.conditions import ConditionType
from lumen_manifest.names import STABLE_VARIANT, variant_name
from lumen_operator.children.desired import OperatorContext
from lumen_operator.decide import Decision, decide_service
from lumen_operator.diagnose.refusals import child_refused
from lumen_operator.observe.decode import mapping, read_claimant
from lumen_operator.observe.gather import Observed, gather_service
from lumen_operator.observe.kinds import POOLS, SERVICES, Key, kind_of
from lumen_operator.observe.views import PodReport

NAMESPACE = "photos"
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DIGEST = "d" * 64
SPACE, OTHER_SPACE = "a" * 64, "b" * 64

_uids = itertools.count(1)  # no two worlds share one: parsing is cached by it


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(base: Any, changes: Any) -> Any:
    """Lay changes over a document; None takes a key away."""
    if not isinstance(changes, dict):
        return copy.deepcopy(changes)
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Objects:
    """What decisions are made from: plain objects by plural, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}

    def get(self, kind: ObjectKind, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.objects.get((kind.plural, namespace, name))

    def of_service(
        self, kind: ObjectKind, namespace: str, service: str
    ) -> tuple[dict[str, Any], ...]:
        return tuple(
            each
            for each in self.all(kind, namespace)
            if mapping(mapping(each, "metadata"), "labels").get("lumen.dev/service") == service
        )

    def callers(self, namespace: str) -> CallerNames:
        claims = map(read_claimant, self.all(SERVICES, namespace))
        return CallerNames(each for each in claims if each is not None)

    def all(self, kind: ObjectKind, namespace: str | None = None) -> tuple[dict[str, Any], ...]:
        found = [key for key in self.objects if key[0] == kind.plural]
        return tuple(self.objects[key] for key in sorted(found) if namespace in {None, key[1]})


class World(Objects):
    """The objects of a cluster, the clock, and what pods said of themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: dict[str, PodReport] = {}
        self.now = START
        self.clock_set_at: datetime | None = None
        self.context = OperatorContext()
        self.pod_words: dict[str, str] = {}
        self.refuses: dict[str, str] = {}
        """What the API server says to an apply, by the kind that it does not take."""

    # Putting things into it.

    def put(self, kind: ObjectKind, document: dict[str, Any]) -> dict[str, Any]:
        """Store an object as the API server would; a changed spec is another generation."""
        metadata = dict(document["metadata"])
        key = (kind.plural, metadata.get("namespace", ""), metadata["name"])
        before = self.objects.get(key)
        if before is None:
            metadata.setdefault("uid", f"uid-{next(_uids)}")
            metadata.setdefault("creationTimestamp", stamp(self.now))
            metadata["generation"] = 1
        else:
            metadata = {**before["metadata"], **metadata}
            changed = before.get("spec") != document.get("spec")
            metadata["generation"] = before["metadata"]["generation"] + changed
        stored = {**document, "metadata": metadata}
        stored.setdefault("apiVersion", kind.api_version)
        stored.setdefault("kind", kind.kind)
        self.objects[key] = json.loads(json.dumps(stored))
        return self.objects[key]

    def remove(self, kind: ObjectKind, name: str, namespace: str = NAMESPACE) -> None:
        self.objects.pop((kind.plural, namespace, name), None)

    def pool(self, name: str = "cpu", **spec: Any) -> None:
        self.put(POOLS, {"metadata": {"name": name}, "spec": merged({"accelerator": "cpu"}, spec)})

    def gpu_pool(self, name: str = "cuda", **spec: Any) -> None:
        base = {
            "accelerator": "cuda",
            "nodeSelector": {"gpu": "yes"},
            "device": {"resource": "nvidia.com/gpu"},
        }
        self.pool(name, **merged(base, spec))

    def node(
        self,
        name: str,
        devices: int = 0,
        labels: dict[str, str] | None = None,
        trouble: str = "",
    ) -> None:
        resources = {"cpu": "8", **({"nvidia.com/gpu": str(devices)} if devices else {})}
        self.put(
            NODES,
            {
                "metadata": {"name": name, "labels": labels or ({"gpu": "yes"} if devices else {})},
                "status": {
                    "allocatable": resources,
                    "conditions": [
                        {
                            "type": "Ready",
                            "status": "Unknown" if trouble else "True",
                            "message": trouble,
                        }
                    ],
                },
            },
        )

    def claim(self, name: str, phase: str) -> None:
        self.put(
            CLAIMS, {"metadata": {"name": name, "namespace": NAMESPACE}, "status": {"phase": phase}}
        )

    def service(self, name: str = "clip", **spec: Any) -> Key:
        """Create a service, or change its spec; None takes a field away."""
        stored = self.get(SERVICES, NAMESPACE, name)
        base = stored["spec"] if stored else {**a_service()["spec"], "replicas": 1}
        metadata = {"name": name, "namespace": NAMESPACE}
        document = {"metadata": metadata, "spec": merged(base, spec)}
        if stored is not None and "status" in stored:
            document["status"] = stored["status"]
        self.put(SERVICES, document)
        return Key("service", NAMESPACE, name)

    # Deciding.

    def observe(self, key: Key) -> Observed:
        observed = gather_service(self, self.reports, key, self.now)
        assert observed is not None
        return replace(observed, clock_set_at=self.clock_set_at, pod_words=self.pod_words)

    def decide(self, key: Key) -> Decision:
        return decide_service(self.observe(key), self.context, self.now)

    def carry_out(self, key: Key, decision: Decision) -> None:
        """Write what was decided, as the API server would take it."""
        for manifest in decision.apply:
            kind = kind_of(manifest)
            name = manifest["metadata"]["name"]
            before = self.objects.get((kind.plural, NAMESPACE, name), {})
            kept = {k: v for k, v in before.items() if k == "status"}
            self.put(kind, {**copy.deepcopy(manifest), **kept})
        for ref in decision.delete:
            self.objects.pop((ref.plural, ref.namespace, ref.name))
        if decision.status is not None:
            raw = self.objects["lumenmodelservices", key.namespace, key.name]
            raw["status"] = json.loads(json.dumps(decision.status))

    def reconcile(self, key: Key) -> Decision:
        decision = self.decide(key)
        refused = next((each for each in decision.apply if each["kind"] in self.refuses), None)
        if refused is not None:
            decision = self.refused(key, decision, refused)
        self.carry_out(key, decision)
        return decision

    def refused(self, key: Key, decision: Decision, child: Mapping[str, Any]) -> Decision:
        """Decide anew when a child was refused: what comes before it was written by then."""
        observed = self.observe(key)
        found = child_refused(
            f"{child['kind']} {child['metadata']['name']}",
            self.refuses[child["kind"]],
            pool=observed.service.spec.pool or "" if observed.service else "",
            namespace=key.namespace,
        )
        told = decide_service(observed, self.context, self.now, refused=found)
        written = decision.apply[: decision.apply.index(child)]
        return replace(told, apply=written, delete=())

    def settle(self, key: Key, most: int = 3) -> None:
        """Decide until there is nothing to do; a decision that never ends is a failure."""
        for _ in range(most):
            decision = self.reconcile(key)
            if not (decision.apply or decision.delete or decision.status or decision.events):
                return
        raise AssertionError(f"still deciding after {most} times: {decision}")

    def change(self, key: Key, **spec: Any) -> None:
        """Change a service's spec, and decide until there is nothing to do."""
        self.service(key.name, **spec)
        self.settle(key)

    def settled(self, name: str = "clip", **spec: Any) -> Key:
        """Create a service, and write all that it asks for at first."""
        key = self.service(name, **spec)
        self.settle(key)
        return key

    def served(self, name: str = "clip", **spec: Any) -> Key:
        """Create a service whose pods serve."""
        key = self.service(name, **spec)
        self.serve(key)
        return key

    def later(self, seconds: float, *keys: Key) -> None:
        """Let time pass, after which these services are looked at."""
        self.now += timedelta(seconds=seconds)
        for key in keys:
            self.settle(key)

    def set_clock(self, ahead_s: float) -> None:
        """Set the operator's clock; nobody else's time is another."""
        self.later(ahead_s)
        self.clock_set_at = self.now

    # Reading it.

    def status(self, key: Key) -> dict[str, Any]:
        return self.objects["lumenmodelservices", key.namespace, key.name].get("status", {})

    def condition(self, key: Key, type_: ConditionType) -> dict[str, Any]:
        (found,) = [c for c in self.status(key)["conditions"] if c["type"] == type_]
        return found

    def said(self, key: Key, type_: ConditionType) -> tuple[str, str]:
        found = self.condition(key, type_)
        return found["status"], found["reason"]

    def deployment(self, key: Key, variant: str = STABLE_VARIANT) -> dict[str, Any]:
        found = self.get(DEPLOYMENTS, key.namespace, variant_name(key.name, variant))
        assert found is not None
        return found

    def names(self, kind: ObjectKind) -> set[str]:
        return {each["metadata"]["name"] for each in self.all(kind)}

    # Playing the controllers by hand.

    def replica_set(
        self, key: Key, variant: str = STABLE_VARIANT, **changes: Any
    ) -> dict[str, Any]:
        """Make the ReplicaSet of the Deployment's present template, as its controller would."""
        deployment = self.deployment(key, variant)
        template = deployment["spec"]["template"]
        mark = format(abs(hash(json.dumps(template, sort_keys=True))) % 16**8, "x")
        name = f"{deployment['metadata']['name']}-{mark}"
        sets = self.of_service(REPLICA_SETS, key.namespace, key.name)
        rollout = 1 + max((int(_rollout(each)) for each in sets), default=0)
        if name in self.names(REPLICA_SETS):
            rollout = int(_rollout(self.objects["replicasets", key.namespace, name]))
        labels = {**template["metadata"]["labels"], "pod-template-hash": mark}
        base = {
            "metadata": {
                "name": name,
                "namespace": key.namespace,
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/revision": str(rollout)},
                "ownerReferences": [{"uid": deployment["metadata"]["uid"], "controller": True}],
            },
            "spec": {"replicas": deployment["spec"]["replicas"], "template": template},
            "status": {},
        }
        there = self.objects.get(("replicasets", key.namespace, name))
        if there is not None and not changes:
            return there
        return self.put(REPLICA_SETS, merged(base, changes))

    def pod(
        self, key: Key, name: str = "p1", variant: str = STABLE_VARIANT, **changes: Any
    ) -> dict[str, Any]:
        """Make a pod of the Deployment's present template; by default the scheduler has not run."""
        made = self.replica_set(key, variant)
        template = copy.deepcopy(made["spec"]["template"])
        base = {
            "metadata": {
                "name": name,
                "namespace": key.namespace,
                "labels": made["metadata"]["labels"],
                "ownerReferences": [{"uid": made["metadata"]["uid"], "controller": True}],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        return self.put(PODS, merged(base, changes))

    def set_pod(self, name: str, *, node: str = "n1", **status: Any) -> None:
        """Give a pod a node and a status."""
        pod = self.objects["pods", NAMESPACE, name]
        if node:
            pod["spec"]["nodeName"] = node
            if self.get(NODES, "", node) is None:
                self.node(node, labels={"kubernetes.io/hostname": node})
        pod["status"] = {"phase": "Pending", "podIP": "10.0.0.1", **status}

    def a_pod(self, key: Key, name: str, *, node: str = "n1", **status: Any) -> None:
        """Make a pod of the present template that has a node and a status."""
        self.pod(key, name)
        self.set_pod(name, node=node, **status)

    def ready(
        self,
        key: Key,
        name: str,
        *,
        space: str = SPACE,
        revision: str = "commit-1",
        **words_of_files: str,
    ) -> None:
        """Let a pod serve, with its files verified; it is made where it is not there."""
        if ("pods", NAMESPACE, name) not in self.objects:
            self.pod(key, name)
        words = verified(revision=revision, embeddingSpace=space, **words_of_files)
        self.set_pod(
            name,
            phase="Running",
            conditions=[{"type": "Ready", "status": "True", "lastTransitionTime": stamp(self.now)}],
            initContainerStatuses=[ended_well("resources", words, self.now)],
            containerStatuses=[
                {
                    "name": "server",
                    "ready": True,
                    "state": {"running": {"startedAt": stamp(self.now)}},
                }
            ],
        )
        self.count(key)

    def count(self, key: Key) -> None:
        """Bring the Deployment's status up to what its pods are, as its controller does."""
        deployment = self.deployment(key)
        pods = self.of_service(PODS, key.namespace, key.name)
        mark = self.replica_set(key)["metadata"]["labels"]["pod-template-hash"]
        fresh = [p for p in pods if p["metadata"]["labels"]["pod-template-hash"] == mark]
        ready = [p for p in pods if p["status"].get("phase") == "Running"]
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(fresh),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
        }

    def serve(self, key: Key, *, space: str = SPACE, revision: str = "commit-1") -> None:
        """Bring a service up: every pod of the present template serves, no other is there."""
        self.settle(key)
        for _ in range(2):  # the first pod records the pin, then the others come
            for pod in self.of_service(PODS, key.namespace, key.name):
                self.remove(PODS, pod["metadata"]["name"])
            for number in range(self.deployment(key)["spec"]["replicas"]):
                self.ready(key, f"{key.name}-{number}", space=space, revision=revision)
            self.count(key)
            self.settle(key)

    def report(self, pod: str, container: str, **document: Any) -> None:
        uid = self.objects["pods", NAMESPACE, pod]["metadata"]["uid"]
        self.reports[uid] = PodReport(uid, container, document, self.now)


def _rollout(raw: Mapping[str, Any]) -> str:
    return raw["metadata"]["annotations"]["deployment.kubernetes.io/revision"]


def verified(**changes: Any) -> str:
    words = {
        "reason": "Verified",
        "revision": "commit-1",
        "digest": DIGEST,
        "embeddingSpace": SPACE,
        "bytes": 9_500_000,
        "files": 7,
    }
    return json.dumps({**words, **changes})


def failure(reason: str, message: str = "It went wrong.", **more: str) -> str:
    return json.dumps({"reason": reason, "message": message, **more})


def ended_well(name: str, message: str, at: datetime = START) -> dict[str, Any]:
    run = {"exitCode": 0, "reason": "Completed", "message": message, "finishedAt": stamp(at)}
    return {"name": name, "ready": True, "state": {"terminated": run}}


def ended_badly(
    name: str, message: str = "", *, code: int = 1, reason: str = "Error", restarts: int = 1
) -> dict[str, Any]:
    run = {"exitCode": code, "reason": reason, "message": message, "finishedAt": stamp(START)}
    return {
        "name": name,
        "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": run},
    }


def running(name: str, at: datetime = START) -> dict[str, Any]:
    return {"name": name, "state": {"running": {"startedAt": stamp(at)}}}


def waiting(name: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}


def unschedulable(message: str) -> list[dict[str, Any]]:
    return [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]
