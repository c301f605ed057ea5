"""What the router advertises: one record per service, one for smart_classify, or all in one."""

from lumen_manifest.spec.enums import Family
from lumen_router.cascade.run import default_scene_service, species_service
from lumen_router.errors import NothingReady
from lumen_router.routes.table import Routes, advertised_names
from lumen_router.upstream.pod import PodCapabilities
from lumen_router.upstream.registry import BackendPool, UpstreamRegistry
from lumen_wire import capabilities as wire
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import SMART_CLASSIFY, TaskKind

SMART = "smart"


def records(directory: UpstreamRegistry) -> list[pb.Capability]:
    """Return a record per service, CLIP first, smart last; raises NothingReady when there is none.

    A service whose only pod restarts stays advertised for a moment: its calls are held.
    """
    routes = directory.routes
    known = [] if routes is None else [pods for pods in directory.services if pods.last_learnt()]
    if routes is None or not known:
        raise NothingReady("no service is ready yet: try again shortly", retry_after_ms=1000)
    ranks = {family: rank for rank, family in enumerate(Family)}
    known.sort(key=lambda pods: (not routes.is_first(pods.service), ranks[pods.service.family]))
    listed = [_record(pods, routes) for pods in known]
    smart = _smart_record({pods.service.name: pods for pods in known}, routes)
    return listed if smart is None else [*listed, smart]


def merged(directory: UpstreamRegistry) -> pb.Capability:
    """Return everything in one record, for clients that know only unary GetCapabilities."""
    return wire.merge(records(directory))


def _record(pods: BackendPool, routes: Routes) -> pb.Capability:
    learnt, service = _learnt(pods), pods.service
    record = pb.Capability(
        service_name=service.family if routes.is_first(service) else service.name,
        model_ids=learnt.record.model_ids,
        runtime=learnt.record.runtime,
        max_concurrency=_concurrency(pods),
        precisions=learnt.record.precisions,
        extra={**learnt.record.extra, "service": service.name},
        protocol_version=wire.PROTOCOL_VERSION,
    )
    for kind, task in learnt.kinds.items():
        for name in advertised_names(routes, service, kind):
            renamed = record.tasks.add()
            renamed.CopyFrom(task)
            renamed.name = name
    return record


def _smart_record(known: dict[str, BackendPool], routes: Routes) -> pb.Capability | None:
    scene_by = default_scene_service(routes)
    scenes = known.get(scene_by.name) if scene_by is not None else None
    if scene_by is None or scenes is None or TaskKind.SCENE_CLASSIFY not in _learnt(scenes).kinds:
        return None
    named = species_service(scene_by.scenes, routes)
    species = known.get(named.name) if named is not None else None
    stages = [_learnt(pods).record for pods in (scenes, species) if pods is not None]
    runtimes = {record.runtime for record in stages}
    facts = wire.ServiceFacts(
        service_name=SMART,
        model_ids=[model for record in stages for model in record.model_ids],
        runtime=runtimes.pop() if len(runtimes) == 1 else wire.MIXED_RUNTIME,
        max_concurrency=min(_concurrency(pods) for pods in (scenes, species) if pods is not None),
        precisions=sorted({one for record in stages for one in record.precisions}),
        extra={
            "scene_service": scene_by.name,
            "species_service": named.name if species is not None and named is not None else "",
            "scene_routes": ",".join(scene_by.scenes.effective_routes),
            "threshold": f"{scene_by.scenes.threshold:g}",
            "margin": f"{scene_by.scenes.margin:g}",
        },
    )
    return wire.capability(facts, {SMART_CLASSIFY.name: TaskKind.SMART_CLASSIFY})


def _concurrency(pods: BackendPool) -> int:
    """Return how many calls all ready pods take together."""
    return max(1, sum(pod.learnt.record.max_concurrency for pod in pods.pods if pod.learnt))


def _learnt(pods: BackendPool) -> PodCapabilities:
    learnt = pods.last_learnt()
    assert learnt is not None, "only services that a pod has spoken for are listed"
    return learnt
