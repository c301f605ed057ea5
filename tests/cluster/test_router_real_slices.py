"""Slices that Kubernetes writes itself, of pods as the operator renders them."""

import asyncio
import json
from typing import Any

from cluster_objects import a_service
from controlplane.cluster import Cluster
from router_in_cluster import ClusterWorld, Lab, a_cluster_world
from router_world import ScriptedPod

from lumen_manifest.node_pool import default_pool
from lumen_manifest.reading.parse import parse_object
from lumen_manifest.render import RenderContext, render
from lumen_manifest.spec.enums import Accelerator


def apply_children(cluster: Cluster, namespace: str, replicas: int) -> None:
    """Create a service's Deployment and headless Service, as the operator would."""
    service = parse_object(a_service(namespace=namespace))
    context = RenderContext(replicas=replicas)
    children = render(service, default_pool(Accelerator.CPU), context=context)
    for child in (*children.services, *children.deployments):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(child))


def ready_pods(lab: Lab) -> set[str]:
    """Where the pods are that Kubernetes calls ready, and that nobody has deleted."""
    pods = lab.cluster.pods(lab.namespace, "lumen.dev/service=clip")
    return {f"{pod['status']['podIP']}:50051" for pod in pods if _is_ready(pod)}


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def taking_calls(table: Any) -> set[str]:
    return {
        endpoint.address
        for service in table.services
        for route in service.routes
        for endpoint in route.endpoints
        if endpoint.takes_calls
    }


async def agrees(world: ClusterWorld, lab: Lab, count: int) -> set[str]:
    """Return the pods' addresses once the routes name just the ready ones, and so many."""
    pods, routed = set(), set()
    for _ in range(300):
        pods = await world.do(ready_pods, lab)
        routed = taking_calls(world.source.seen[-1]) if world.source.seen else set()
        if len(pods) == count and routed == pods:
            return pods
        await asyncio.sleep(0.1)
    raise AssertionError(f"{pods} are ready and {routed} are routed, not {count}")


async def test_pods_of_a_deployment_are_followed_as_it_scales_rolls_and_loses_one(lab):
    kubectl = lab.cluster.kubectl
    async with ScriptedPod() as pod:
        lab.dialer.anywhere_else = pod.address
        async with a_cluster_world(lab) as world:
            await world.do(lab.serve)
            await world.do(apply_children, lab.cluster, lab.namespace, 2)
            first = await agrees(world, lab, 2)
            await world.infer("image_embed")

            here = ("deployment/clip-stable", "-n", lab.namespace)
            await world.do(kubectl, "scale", *here, "--replicas=3")
            assert first < await agrees(world, lab, 3)

            before = len(world.source.seen)
            await world.do(kubectl, "rollout", "restart", *here)
            await world.do(kubectl, "rollout", "status", *here, "--timeout=60s")
            await agrees(world, lab, 3)
            fewest = min(len(taking_calls(table)) for table in world.source.seen[before:])

            name = (
                await world.do(kubectl, "get", "pods", "-n", lab.namespace, "-o", "name")
            ).split()[0]
            await world.do(kubectl, "delete", name, "-n", lab.namespace, "--wait=false")
            await agrees(world, lab, 3)

    assert fewest >= 3
