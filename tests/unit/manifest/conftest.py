"""Builders of valid objects; a test names only what it is about."""

from collections.abc import Callable
from typing import Any

import pytest

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.render import Children, RenderContext, render

Build = Callable[..., Any]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay changes over a document; None takes a key away."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@pytest.fixture
def service_document() -> Build:
    """Build a LumenModelService as JSON; keyword arguments change its spec."""

    def build(name: str = "clip", **spec: Any) -> dict[str, Any]:
        base = {
            "family": "clip",
            "model": {"name": "MobileCLIP2-S2", "runtime": "onnx"},
            "pool": "cpu",
        }
        return {
            "apiVersion": "lumen.dev/v1alpha1",
            "kind": "LumenModelService",
            "metadata": {"name": name},
            "spec": merged(base, spec),
        }

    return build


@pytest.fixture
def a_service(service_document: Build) -> Build:
    """Build a LumenModelService; keyword arguments change its spec."""

    def build(name: str = "clip", uid: str = "", **spec: Any) -> LumenModelService:
        document = service_document(name, **spec)
        if uid:
            document["metadata"]["uid"] = uid
        return LumenModelService.model_validate(document)

    return build


@pytest.fixture
def a_pool() -> Build:
    """Build a LumenNodePool; keyword arguments change its spec."""

    def build(name: str = "cpu", **spec: Any) -> LumenNodePool:
        return LumenNodePool.model_validate(
            {"metadata": {"name": name}, "spec": merged({"accelerator": "cpu"}, spec)}
        )

    return build


@pytest.fixture
def rendered(a_service: Build, a_pool: Build) -> Build:
    """Render a service; `pool` and `context` are given, other keyword arguments change its spec."""

    def build(
        pool: LumenNodePool | None = None, context: RenderContext | None = None, **spec: Any
    ) -> Children:
        return render(a_service(**spec), pool or a_pool(), context=context)

    return build
