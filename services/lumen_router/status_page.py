"""What /status and /metrics say of the moment: services, pods, what waits, what is held.

Read from the HTTP thread while the loop runs: everything is copied before it is walked.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from lumen_router.metrics import Now
from lumen_router.upstream.pending_calls import PendingCalls
from lumen_router.upstream.pod import Pod
from lumen_router.upstream.registry import BackendPool, UpstreamRegistry
from lumen_wire.request.budget import ByteBudget
from lumen_wire.server.health import HealthPhase

Rows = Sequence[tuple[str, float]]


def page(directory: UpstreamRegistry, room: PendingCalls, phase: HealthPhase) -> tuple[str, bytes]:
    """Return the content type and the JSON of /status."""
    waiting = dict(room.by_service)
    document = {
        "phase": phase.value,
        "services": [
            _service(pods, waiting.get(pods.service.name, 0)) for pods in tuple(directory.services)
        ],
    }
    return "application/json", orjson.dumps(document)


def figures(directory: UpstreamRegistry, room: PendingCalls, budget: ByteBudget) -> Now:
    """Return the figures that /metrics reads when it is asked."""

    def read() -> Iterable[tuple[str, str, Rows]]:
        services = tuple(directory.services)
        waiting = dict(room.by_service)
        names = [pods.service.name for pods in services]
        yield (
            "lumen_router_outstanding",
            "Calls that pods have not answered yet.",
            [(pods.service.name, sum(pod.outstanding for pod in pods.pods)) for pods in services],
        )
        yield (
            "lumen_router_holding",
            "Calls that wait for a ready pod.",
            [(name, waiting.get(name, 0)) for name in names],
        )
        yield (
            "lumen_router_pods_ready",
            "Pods that may get calls.",
            [(pods.service.name, len(pods.ready_pods)) for pods in services],
        )
        yield (
            "lumen_router_held_payload_bytes",
            "Payload that the router holds for all services.",
            [("", budget.held_bytes)],
        )

    return Now(read)


def _service(pods: BackendPool, waiting: int) -> dict[str, Any]:
    service = pods.service
    return {
        "name": service.name,
        "family": service.family.value,
        "embeddingSpace": pods.space,
        "reason": service.reason,
        "waiting": waiting,
        "pods": [_pod(pod) for pod in pods.pods],
    }


def _pod(pod: Pod) -> dict[str, Any]:
    learnt = pod.learnt
    return {
        "address": pod.address,
        "ready": learnt is not None,
        "outstanding": pod.outstanding,
        "embeddingSpace": learnt.space if learnt else "",
        "device": learnt.record.extra.get("device", "") if learnt else "",
        "runtime": learnt.record.runtime if learnt else "",
    }
