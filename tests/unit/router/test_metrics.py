"""What is counted, and of which services."""

from lumen_router.metrics import RouterMetrics
from lumen_wire.tasks import TaskKind


def counted(metrics: RouterMetrics) -> list[str]:
    text = metrics.page()[1].decode()
    return [line for line in text.splitlines() if line.startswith("lumen_router_requests_total{")]


def test_a_service_that_comes_back_is_counted_from_nothing():
    metrics = RouterMetrics()
    metrics.keep_only(["clip", "bio"])
    for service in ("clip", "clip", "bio"):
        metrics.request_done(service, TaskKind.CLASSIFY, "OK", 0.1)

    metrics.keep_only(["bio"])
    gone = counted(metrics)
    metrics.keep_only(["clip", "bio"])
    metrics.request_done("clip", TaskKind.CLASSIFY, "OK", 0.1)
    metrics.request_done("bio", TaskKind.CLASSIFY, "OK", 0.1)

    assert gone == ['lumen_router_requests_total{code="OK",service="bio",task="classify"} 1.0']
    assert sorted(counted(metrics)) == [
        'lumen_router_requests_total{code="OK",service="bio",task="classify"} 2.0',
        'lumen_router_requests_total{code="OK",service="clip",task="classify"} 1.0',
    ]
