"""What the router remembers of a service's pods is bounded by the pods, not by what callers say."""

from lumen_manifest.spec.enums import Family
from lumen_router.routes.table import Service
from lumen_router.upstream.registry import BackendPool, CallRequirements
from lumen_wire.tasks import TaskKind


def test_spaces_that_nobody_offers_are_not_remembered():
    pods = BackendPool(Service("clip", Family.CLIP), lambda: None)

    found = [
        pods.choose(CallRequirements(TaskKind.CLASSIFY, f"space-{n}"), frozenset())
        for n in range(1000)
    ]

    assert set(found) == {None}
    assert len(pods._candidates) == 0
