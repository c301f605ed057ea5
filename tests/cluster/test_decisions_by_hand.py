"""The operator's decisions in the hands of a real API server and Kubernetes' own controllers."""

import json
from typing import Any

import pytest
from controlplane.cluster import Cluster, unique_name
from controlplane.nodes import BEHAVIOUR
from decisions_by_hand import ByHand, condition, is_ready

from lumen_operator.observe.kinds import POOLS

SPACE = "a" * 64
WORDS = json.dumps(
    {
        "reason": "Verified",
        "revision": "c1",
        "digest": "d" * 64,
        "embeddingSpace": SPACE,
        "bytes": 9,
    }
)
PLAIN = {
    "family": "clip",
    "model": {"name": "MobileCLIP2-S2", "runtime": "onnx"},
    "replicas": 1,
    "podTemplate": {"annotations": {"kwok.lumen.dev/termination-message": WORDS}},
}
RICH = {
    **PLAIN,
    "model": {
        "name": "MobileCLIP2-S2",
        "runtime": "onnx",
        "source": {"uri": "s3://bucket/prefix", "secretRef": {"name": "keys"}},
    },
    "labelSets": [{"name": "ImageNet_1k"}],
    "scenes": {"preset": "oct2025"},
    "autoscaling": {
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [
            {"type": "inflight", "target": 8},
            {"type": "queueWait", "target": 1500},
            {"type": "cpu", "target": 80},
        ],
    },
    "cache": {"type": "persistentVolumeClaim", "claimName": "models"},
    "resources": {
        "limits": {"cpu": "2000m", "memory": "4096Mi"},
        "requests": {"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "1024Ki"},
    },
    "server": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}]},
    "podTemplate": {
        "labels": {"team": "photos"},
        "annotations": {"note": ""},
        "priorityClassName": "system-node-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"team": "photos"}},
            }
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}
                    ]
                }
            }
        },
    },
}


@pytest.fixture
def a_pool(control_plane: Cluster):
    """Make a pool of nodes of its own, with one device each if any."""
    made = []

    def make(nodes: int = 1, device: str = "") -> str:
        name = unique_name("pool")
        spec = {"accelerator": "cuda" if device else "cpu", "nodeSelector": {"test.pool": name}}
        if device:
            spec["device"] = {"resource": device}
        control_plane.create(
            f"/apis/lumen.dev/v1alpha1/{POOLS.plural}",
            {
                "apiVersion": POOLS.api_version,
                "kind": POOLS.kind,
                "metadata": {"name": name},
                "spec": spec,
            },
        )
        for _ in range(nodes):
            node = unique_name("node")
            devices = {device: 1} if device else {}
            control_plane.add_node(node, labels={"test.pool": name}, devices=devices)
            made.append(node)
        return name

    yield make
    for node in made:
        control_plane.remove_node(node)


def named(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


@pytest.mark.parametrize("spec", [PLAIN, RICH], ids=["plain", "rich"])
def test_what_was_applied_is_recognised_and_not_applied_again(
    control_plane, namespace, a_pool, spec
):
    hand = ByHand(control_plane, namespace)
    hand.apply_service({**spec, "pool": a_pool()})
    applied = [named(each) for each in hand.step().apply]

    # What the first pod found is pinned as soon as it is ready, which may be by now.
    assert len(applied) >= 6
    assert [each for each in hand.decide().apply if named(each) in applied] == []


def test_a_field_that_is_no_longer_rendered_is_taken_back(control_plane, namespace, a_pool):
    hand = ByHand(control_plane, namespace)
    pool = a_pool()
    more = {"annotations": PLAIN["podTemplate"]["annotations"], "labels": {"team": "photos"}}
    hand.apply_service({**PLAIN, "pool": pool, "podTemplate": more})
    hand.step()
    hand.apply_service({**PLAIN, "pool": pool})
    hand.step()

    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/clip-stable"
    template = control_plane.get(path)["spec"]["template"]
    assert "team" not in template["metadata"]["labels"]
    # Its first pod may have verified its files meanwhile: their pins are due then.
    assert all(manifest["kind"] != "Deployment" for manifest in hand.decide().apply)


def test_a_rival_that_applies_the_replicas_is_named_and_overruled(control_plane, namespace, a_pool):
    hand = ByHand(control_plane, namespace)
    hand.apply_service({**PLAIN, "pool": a_pool()})
    hand.step()
    rival = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "clip-stable"},
        "spec": {"replicas": 3},
    }
    control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=argocd",
        f"-n={namespace}", "-f", "-", stdin=json.dumps(rival),
    )  # fmt: skip
    hand.step()

    accepted = condition(hand.status(), "Accepted")
    assert accepted["reason"] == "FieldConflict"
    assert "argocd applies spec.replicas" in accepted["message"]
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/clip-stable"
    assert control_plane.get(path)["spec"]["replicas"] == 1


def test_a_service_becomes_ready_and_scales_once_its_files_are_pinned(
    control_plane, namespace, a_pool
):
    hand = ByHand(control_plane, namespace)
    hand.apply_service({**PLAIN, "pool": a_pool(), "replicas": 3})
    status = hand.until(lambda s: s.get("ready") == "3/3" and is_ready(s), "three pods serve")

    assert status["files"]["revision"] == "c1"
    assert status["embeddingSpace"] == SPACE
    hand.until(lambda s: condition(s, "Progressing")["reason"] == "RolloutComplete", "complete")
    assert hand.decide().apply == ()


def test_on_the_only_device_the_old_pod_goes_before_the_new_one_comes(
    control_plane, namespace, a_pool
):
    hand = ByHand(control_plane, namespace)
    pool = a_pool(device="nvidia.com/gpu")
    hand.apply_service({**PLAIN, "pool": pool})
    before = hand.until(is_ready, "it serves")["stableRevision"]
    hand.apply_service({**PLAIN, "pool": pool, "server": {"maxBatchSize": 8}})
    after = hand.until(lambda s: s["stableRevision"] != before, "the new revision is stable")

    assert is_ready(after)
    assert after["ready"] == "1/1"


def test_where_there_are_fewer_devices_than_pods_a_rollout_still_ends(
    control_plane, namespace, a_pool
):
    hand = ByHand(control_plane, namespace)
    pool = a_pool(nodes=2, device="nvidia.com/gpu")
    hand.apply_service({**PLAIN, "pool": pool, "replicas": 3})
    before = hand.until(lambda s: s.get("ready") == "2/3", "two of three serve")["stableRevision"]
    hand.apply_service({**PLAIN, "pool": pool, "replicas": 3, "server": {"maxBatchSize": 8}})

    def replaced(status) -> bool:
        pods = control_plane.pods(namespace, "lumen.dev/service=clip")
        hashes = {pod["metadata"]["labels"]["lumen.dev/revision"] for pod in pods}
        turned = status["stableRevision"] != before and len(hashes) == 1
        return turned and status["ready"] == "2/3" and hand.decide().apply == ()

    hand.until(replaced, "both devices run the new revision")


def test_a_revision_that_crashes_is_rolled_back_with_its_reason(control_plane, namespace, a_pool):
    hand = ByHand(control_plane, namespace)
    pool = a_pool()
    rollout = {"progressDeadlineSeconds": 30}
    hand.apply_service({**PLAIN, "pool": pool, "rollout": rollout})
    stable = hand.until(is_ready, "it serves")["stableRevision"]
    annotations = {**PLAIN["podTemplate"]["annotations"], BEHAVIOUR: "crash-loop"}
    broken = {
        **PLAIN,
        "pool": pool,
        "rollout": rollout,
        "podTemplate": {"annotations": annotations},
    }
    hand.apply_service(broken)
    status = hand.until(lambda s: s["rejectedRevision"] != "", "the revision is rejected", 90)

    assert status["stableRevision"] == stable
    assert condition(status, "Progressing")["reason"] == "RolledBack"
    assert is_ready(status)

    def back(_) -> bool:
        pods = control_plane.pods(namespace, "lumen.dev/service=clip")
        return {pod["metadata"]["labels"]["lumen.dev/revision"] for pod in pods} == {stable}

    hand.until(back, "only the stable revision runs")
    assert hand.decide().apply == ()
