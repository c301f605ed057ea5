"""Objects of ours as people apply them, and objects as the API server delivers them: builders."""

from typing import Any


def an_object(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": {field: value for field, value in spec.items() if value is not None},
    }


def a_service(name: str = "clip", *, namespace: str = "", **spec: Any) -> dict[str, Any]:
    """A LumenModelService as its author writes it; keywords are fields of its spec.

    None takes a field away.
    """
    model = {"name": "MobileCLIP2-S2", "runtime": "onnx"}
    whole = {"family": "clip", "model": model, "pool": "cpu", **spec}
    where = {"namespace": namespace} if namespace else {}
    return an_object("LumenModelService", name, whole, **where)


def a_pool(name: str, **spec: Any) -> dict[str, Any]:
    """A LumenNodePool as its author writes it."""
    return an_object("LumenNodePool", name, {"accelerator": "cpu", **spec})


def a_model_service(name: str = "clip", **changes: Any) -> dict[str, Any]:
    """A LumenModelService with one route, `<name>-stable`; keywords replace what they name."""
    created = changes.pop("created", "2026-01-01T00:00:00Z")
    version = str(changes.pop("version", "1"))
    status = changes.pop("status", {"routes": [a_route(f"{name}-stable")]})
    metadata = {
        "name": name,
        "namespace": "lab",
        "uid": f"uid-{name}",
        "resourceVersion": version,
        "creationTimestamp": created,
        "generation": 3,
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        **changes.pop("metadata", {}),
    }
    if "external" in changes:
        changes.setdefault("pool", None)
    found = a_service(name, model={"name": name, "runtime": "onnx"}, **changes)
    return {**found, "metadata": metadata, "status": status}


def a_route(service: str, variant: str = "stable", weight: int = 100, space: str = "") -> dict:
    return {
        "variant": variant,
        "service": service,
        "weight": weight,
        "tasks": [],
        "embeddingSpace": space,
    }


def an_endpoint(address: str, **conditions: bool | None) -> dict[str, Any]:
    """A pod's endpoint, ready unless told otherwise; its uid comes from `pod`."""
    pod = conditions.pop("pod", None) or f"uid-of-{address}"
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False, **conditions},
        "targetRef": {"kind": "Pod", "name": "p", "uid": pod},
    }


def a_slice(name: str, *endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An EndpointSlice of the Service `of`, by default `clip-stable` of the service `clip`."""
    of = changes.pop("of", "clip-stable")
    owner = changes.pop("owner", of.rpartition("-")[0])
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "lab",
            "resourceVersion": str(changes.pop("version", "1")),
            "labels": {"kubernetes.io/service-name": of, "lumen.dev/service": owner},
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [
            {"name": "grpc", "port": 50051, "protocol": "TCP"},
            {"name": "metrics", "port": 9090, "protocol": "TCP"},
        ],
        **changes,
    }


class ScriptedApi:
    """An API server that answers what the test says, and keeps what it was asked."""

    def __init__(self, *answers):
        self.made = []
        self.answers = list(answers)

    async def ask(self, request):
        self.made.append(request)
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def call(self, request):
        await self.ask(request)
        return b"{}"


def paths_in(value, path=()):
    """Yield the way to everything inside an object: mappings, lists and what they hold."""
    if not isinstance(value, dict | list):
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        yield from paths_in(each, (*path, key))
