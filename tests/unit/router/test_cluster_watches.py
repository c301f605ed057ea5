"""Listing and watching as the API server lets it: cut, silent, expired, away, refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from cluster_objects import a_model_service, a_slice, an_endpoint
from structlog.testing import capture_logs

from lumen_cluster import reflector
from lumen_cluster.errors import ApiError, ApiUnavailable, HistoryGone, Refused, Throttled
from lumen_cluster.kinds import Event, EventType, Page, Resource
from lumen_cluster.reflector import Reflector
from lumen_cluster.store import Store
from lumen_process.backoff import Backoff
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.cluster_objects import keep_model_service
from lumen_router.routes.from_cluster import RoutesFromCluster, watched_resources
from lumen_router.routes.table import Routes

BOUND_S = 60
SERVICES, SLICES = watched_resources("lab")


@dataclass
class FakeCluster:
    """A namespace that is listed and watched; every answer can be made to fail."""

    objects: dict[str, dict] = field(default_factory=lambda: {"services": {}, "slices": {}})
    version: int = 1
    refusals: list[ApiError] = field(default_factory=list)
    watch_refusals: list[ApiError] = field(default_factory=list)
    lists: int = 0
    watched_from: list[str] = field(default_factory=list)
    queues: dict[str, list[asyncio.Queue]] = field(
        default_factory=lambda: {"services": [], "slices": []}
    )

    async def pages(self, resource: Resource) -> AsyncIterator[Page]:
        self.lists += 1
        if self.refusals:
            raise self.refusals[0]
        version = str(self.version)
        for raw in tuple(self.objects[_kind(resource)].values()):
            yield Page((raw,), version)
        yield Page((), version)

    async def watch(self, resource: Resource, version: str) -> AsyncIterator[Event | None]:
        self.watched_from.append(version)
        if self.refusals:
            raise self.refusals[0]
        if self.watch_refusals:
            raise self.watch_refusals.pop(0)
        queue: asyncio.Queue = asyncio.Queue()
        self.queues[_kind(resource)].append(queue)
        try:
            yield None
            while True:
                what = await queue.get()
                if what is None:
                    return
                if isinstance(what, ApiError):
                    raise what
                yield what
        finally:
            self.queues[_kind(resource)].remove(queue)

    def put(self, kind: str, raw: dict, *, tell: bool = True) -> None:
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        name = raw["metadata"]["name"]
        event = EventType.MODIFIED if name in self.objects[kind] else EventType.ADDED
        self.objects[kind][name] = raw
        self.send(kind, Event(event, raw) if tell else "nothing")

    def delete(self, kind: str, name: str, *, tell: bool = True) -> None:
        self.version += 1
        gone = self.objects[kind].pop(name)
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self.send(kind, Event(EventType.DELETED, gone) if tell else "nothing")

    def send(self, kind: str, what: Event | ApiError | str | None) -> None:
        """Report to every watch of the kind; None ends them in good order."""
        for queue in self.queues[kind]:
            if what != "nothing":
                queue.put_nowait(what)


def _kind(resource: Resource) -> str:
    return "slices" if resource == SLICES else "services"


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not holds():  # noqa: ASYNC110 - the state is another component's
            await asyncio.sleep(0.002)


def addresses(routes: Routes) -> list[str]:
    """Where calls would go; the first routes may have none yet."""
    ways = [route for service in routes.services for route in service.routes]
    return [endpoint.address for way in ways for endpoint in way.endpoints]


@asynccontextmanager
async def following(cluster: FakeCluster) -> AsyncIterator[tuple[Store, RouterMetrics]]:
    """What a reflector of the services keeps."""
    metrics, mirror = RouterMetrics(), Store(keep_model_service)
    reflecting = Reflector(cluster, SERVICES, metrics.watches, mirror)
    task = asyncio.create_task(reflecting.run())
    try:
        yield mirror, metrics
    finally:
        task.cancel()
        await asyncio.wait([task])


def figure(metrics: RouterMetrics, name: str, **labels: str) -> float | None:
    return metrics._registry.get_sample_value(name, {"resource": "lumenmodelservices", **labels})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(reflector, "BACKOFF", Backoff(0.001, 0.01))
    monkeypatch.setattr(reflector, "REFUSED_S", 0.0)


async def test_it_lists_once_and_watches_from_there():
    cluster = FakeCluster()
    cluster.put("services", a_model_service("clip"))
    async with following(cluster) as (mirror, metrics):
        await until(lambda: cluster.queues["services"])
        cluster.put("services", a_model_service("fast"))
        await until(lambda: ("lab", "fast") in mirror.objects)
        cluster.delete("services", "clip")
        await until(lambda: ("lab", "clip") not in mirror.objects)

        assert set(mirror.objects) == {("lab", "fast")}
        assert (cluster.lists, cluster.watched_from) == (1, ["2"])
        assert figure(metrics, "lumen_router_watch_up") == 1


@pytest.mark.parametrize(
    "end", [None, ApiUnavailable("reset")], ids=["in good order", "by a reset"]
)
async def test_a_watch_that_ends_goes_on_where_it_was_and_is_no_news(end):
    cluster = FakeCluster()
    with capture_logs() as logs:
        async with following(cluster) as (mirror, _):
            await until(lambda: cluster.queues["services"])
            cluster.put("services", a_model_service("clip"))
            bookmark = {"metadata": {"resourceVersion": "77"}}
            cluster.send("services", Event(EventType.BOOKMARK, bookmark))
            cluster.send("services", end)
            await until(lambda: len(cluster.watched_from) == 2 and cluster.queues["services"])

            assert set(mirror.objects) == {("lab", "clip")}
    assert (cluster.lists, cluster.watched_from) == (1, ["1", "77"])
    assert logs == []


async def test_expired_history_is_listed_anew_and_what_was_deleted_meanwhile_goes():
    cluster = FakeCluster()
    for name in ("clip", "fast"):
        cluster.put("services", a_model_service(name))
    async with following(cluster) as (mirror, metrics):
        await until(lambda: cluster.queues["services"])
        cluster.delete("services", "fast", tell=False)
        cluster.send("services", HistoryGone("too old resource version"))
        await until(lambda: cluster.lists == 2 and cluster.queues["services"])

        assert set(mirror.objects) == {("lab", "clip")}
        assert figure(metrics, "lumen_router_watch_ends_total", end="expired") == 1


async def test_history_that_is_gone_at_once_again_and_again_makes_no_busy_loop(monkeypatch):
    monkeypatch.setattr(reflector, "BACKOFF", Backoff(5.0, 5.0))
    cluster = FakeCluster(watch_refusals=[HistoryGone("gone")] * 1000)
    async with following(cluster):
        await until(lambda: cluster.lists == 1)
        for _ in range(200):
            await asyncio.sleep(0)

        assert cluster.lists == 1


async def test_while_the_server_is_away_what_was_known_stays_and_it_is_said_once():
    cluster = FakeCluster()
    cluster.put("services", a_model_service("clip"))
    with capture_logs() as logs:
        async with following(cluster) as (mirror, metrics):
            await until(lambda: cluster.queues["services"])
            cluster.refusals.append(ApiUnavailable("connection refused"))
            cluster.send("services", ApiUnavailable("reset"))
            await until(lambda: len(cluster.watched_from) > 6)
            cluster.refusals[0] = ApiUnavailable("no answer in time")

            assert set(mirror.objects) == {("lab", "clip")}
            assert figure(metrics, "lumen_router_watch_up") == 0
            cluster.put("services", a_model_service("fast"), tell=False)
            cluster.refusals.clear()
            cluster.watch_refusals.append(HistoryGone("restarted"))
            await until(lambda: ("lab", "fast") in mirror.objects)
            await until(lambda: figure(metrics, "lumen_router_watch_up") == 1)

    said = [(one["log_level"], one["event"]) for one in logs]
    assert said == [
        ("warning", "cluster not readable"),
        ("info", "listing anew"),
        ("info", "cluster readable again"),
    ]
    assert logs[0]["kept"] == "what was last known"


async def test_a_refusal_is_said_once_with_what_to_do_and_tried_again():
    cluster = FakeCluster(watch_refusals=[Refused("403: let it watch")] * 5)
    with capture_logs() as logs:
        async with following(cluster) as (_, metrics):
            await until(lambda: figure(metrics, "lumen_router_watch_up") == 1)

            assert figure(metrics, "lumen_router_watch_ends_total", end="refused") == 5
    assert [one["event"] for one in logs] == ["cluster not readable", "cluster readable again"]
    assert logs[0]["why"] == "403: let it watch"


async def test_a_refusal_of_a_moment_is_not_said(monkeypatch):
    monkeypatch.setattr(reflector, "REFUSED_S", 60.0)
    away = ApiUnavailable("refused")
    refusals = [away, Refused("403"), Refused("403"), Throttled("429"), away]
    cluster = FakeCluster(watch_refusals=refusals)
    with capture_logs() as logs:
        async with following(cluster) as (_, metrics):
            await until(lambda: figure(metrics, "lumen_router_watch_up") == 1)

    said = [(one["event"], one.get("why")) for one in logs]
    assert said == [("cluster not readable", "refused"), ("cluster readable again", None)]


@asynccontextmanager
async def routed(cluster: FakeCluster) -> AsyncIterator[tuple[list, RouterMetrics]]:
    """The routes that the source has yielded so far."""
    metrics, seen = RouterMetrics(), []

    async def collect(source: RoutesFromCluster) -> None:
        async for routes in source.watch():
            seen.append(routes)  # noqa: PERF401 - it never ends, and others look on

    async with RoutesFromCluster(cluster, "lab", metrics).following() as source:
        task = asyncio.create_task(collect(source))
        try:
            yield seen, metrics
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_no_routes_are_given_before_both_kinds_are_known():
    cluster = FakeCluster()
    cluster.put("services", a_model_service("clip"))
    answer = cluster.pages
    slices_may_be_listed = asyncio.Event()

    async def pages(resource: Resource) -> AsyncIterator[Page]:
        if resource == SLICES:
            await slices_may_be_listed.wait()
        async for page in answer(resource):
            yield page

    cluster.pages = pages
    async with routed(cluster) as (seen, _):
        await until(lambda: cluster.queues["services"])
        # Whoever builds routes has been woken by now, and would have had its turn.
        for _ in range(50):
            await asyncio.sleep(0)
        assert seen == []
        slices_may_be_listed.set()
        await until(lambda: seen)

    assert [service.name for service in seen[0].services] == ["clip"]


async def test_thousands_of_events_make_a_handful_of_routes_and_the_last_one_counts():
    cluster = FakeCluster()
    cluster.put("services", a_model_service("clip"))
    async with routed(cluster) as (seen, metrics):
        await until(lambda: cluster.queues["slices"] and seen)
        for count in range(5000):
            host = f"198.18.{count // 250}.{count % 250}"
            cluster.put("slices", a_slice("one", an_endpoint(host)))
            if count % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: addresses(seen[-1]) == ["198.18.19.249:50051"])
        built = metrics._registry.get_sample_value("lumen_router_routes_built_total")

    print(f"5,000 events made {built:.0f} buildings of the routes")
    assert built < 100


async def test_changes_of_what_routing_does_not_read_cost_nothing():
    cluster = FakeCluster()
    cluster.put("services", a_model_service("clip"))
    cluster.put("slices", a_slice("one", an_endpoint("198.18.0.1")))
    async with routed(cluster) as (seen, metrics):
        await until(lambda: cluster.queues["services"] and cluster.queues["slices"] and seen)
        built = metrics._registry.get_sample_value("lumen_router_routes_built_total")
        for replicas in range(1, 50):
            cluster.put("services", a_model_service("clip", replicas=replicas))
            note = {"annotations": {"endpoints.kubernetes.io/last-change": str(replicas)}}
            touched = a_slice("one", an_endpoint("198.18.0.1"))
            touched["metadata"] |= note
            cluster.put("slices", touched)
        cluster.put("services", a_model_service("clip", aliases=["fast"]))
        await until(lambda: len(seen) == 2)

        assert metrics._registry.get_sample_value("lumen_router_routes_built_total") == built + 1


async def test_an_object_that_cannot_be_read_is_left_out_and_said_once():
    cluster = FakeCluster()
    cluster.put("services", a_model_service("clip"))
    cluster.put("services", a_model_service("odd", family="dinosaur"))
    with capture_logs() as logs:
        async with routed(cluster) as (seen, _):
            await until(lambda: cluster.queues["services"] and seen)
            cluster.put("services", a_model_service("odd", family="dinosaur"))
            cluster.put("services", a_model_service("fast"))
            await until(lambda: len(seen) == 2)

    assert [service.name for service in seen[-1].services] == ["clip", "fast"]
    assert [one["event"] for one in logs] == ["object not usable, left out of the routes"]
    assert "odd" in logs[0]["why"]
