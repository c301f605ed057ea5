"""Finds its way in the manifests of a service."""

from typing import Any


def deployment_of(children) -> dict[str, Any]:
    (deployment,) = children.deployments
    return deployment


def pod_of(children) -> dict[str, Any]:
    return deployment_of(children)["spec"]["template"]["spec"]


def container(children, name: str) -> dict[str, Any]:
    pod = pod_of(children)
    (found,) = [c for c in (*pod["initContainers"], *pod["containers"]) if c["name"] == name]
    return found


def env_of(children, name: str) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(children, name)["env"]}
