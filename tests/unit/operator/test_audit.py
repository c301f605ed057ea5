import asyncio

import pytest
import virtual_time
from cluster_objects import ScriptedApi

from lumen_cluster.errors import ApiUnavailable, HistoryGone, TooLarge
from lumen_cluster.kinds import NODES, PODS
from lumen_cluster.store import version_of
from lumen_operator.observe.audit import Audit, MetadataLister
from lumen_operator.observe.kinds import SERVICES, WATCHED_KINDS
from lumen_operator.observe.store import ObjectCache


def an_object(name, uid="", version="1"):
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": uid or f"u-{name}",
            "resourceVersion": version,
        }
    }


class World:
    """What there is (by kind), what the watches said, and what the audit did about it."""

    def __init__(self):
        self.there = {kind: {} for kind in WATCHED_KINDS}
        self.cache = ObjectCache()
        self.purged = []
        self.mismatches = 0
        self.listings = []
        self.away = 0
        self.audit = Audit(self, self.cache, self.purge, self.mismatched, every_s=300)

    def has(self, kind, *objects):
        self.there[kind] = {("team", raw["metadata"]["name"]): version_of(raw) for raw in objects}

    def told(self, kind, *objects):
        for raw in objects:
            self.cache.put(kind, raw)

    async def list_metadata(self, kind):
        self.listings.append((kind, virtual_time.clock()))
        await asyncio.sleep(0.01)
        if self.away:
            self.away -= 1
            raise ApiUnavailable("503")
        return dict(self.there[kind])

    def purge(self, kind, name, uid):
        self.purged.append((kind, name[1], uid))
        self.cache.drop(kind, name, uid)

    def mismatched(self, kind, objects):
        self.mismatches += objects


@virtual_time.story
async def test_what_is_gone_unnoticed_is_purged_and_counted():
    world = World()
    world.told(PODS, an_object("stays"), an_object("gone"))
    world.has(PODS, an_object("stays"))
    await world.audit.audit(PODS)

    assert world.purged == [(PODS, "gone", "u-gone")]
    assert world.mismatches == 1
    assert world.audit.problem() == ""


@virtual_time.story
async def test_a_predecessor_is_purged_though_its_name_is_there_again():
    world = World()
    world.told(PODS, an_object("pod", uid="first"))
    world.has(PODS, an_object("pod", uid="second"))
    await world.audit.audit(PODS)

    assert world.purged == [(PODS, "pod", "first")]


@virtual_time.story
async def test_an_object_that_came_during_the_listing_is_left_alone():
    world = World()
    listing = asyncio.create_task(world.audit.audit(PODS))
    await asyncio.sleep(0.001)
    world.told(PODS, an_object("new"))
    await listing

    assert world.purged == []


@pytest.mark.parametrize("told", [(), (an_object("clip", version="3"),)])
@virtual_time.story
async def test_a_watch_that_tells_nothing_for_long_is_a_problem_and_one_that_lags_is_none(told):
    world = World()
    world.told(SERVICES, *told)
    world.has(SERVICES, an_object("clip", version="7"))
    running = asyncio.create_task(world.audit.run())
    await asyncio.sleep(60)
    assert world.audit.problem() == ""

    await asyncio.sleep(90)
    assert world.audit.problem() == "the watches of lumenmodelservices differ from the cluster"
    assert world.mismatches == 1

    world.told(SERVICES, an_object("clip", version="7"))
    await asyncio.sleep(30)
    assert world.audit.problem() == ""
    running.cancel()


@virtual_time.story
async def test_an_object_that_changes_all_the_time_is_no_problem_while_the_watch_follows():
    world = World()
    running = asyncio.create_task(world.audit.run())
    for version in range(1, 200):
        world.has(SERVICES, an_object("clip", version=str(version)))
        await asyncio.sleep(5)
        world.told(SERVICES, an_object("clip", version=str(version)))

    assert world.audit.problem() == ""
    assert world.mismatches == 0
    running.cancel()


@virtual_time.story
async def test_every_kind_is_listed_every_five_minutes():
    world = World()
    running = asyncio.create_task(world.audit.run())
    await asyncio.sleep(610)
    counts = [sum(each == kind for each, _ in world.listings) for kind in WATCHED_KINDS]
    assert counts == [3] * len(WATCHED_KINDS)

    running.cancel()


@virtual_time.story
async def test_an_api_server_that_is_away_is_asked_again():
    world = World()
    world.told(PODS, an_object("gone"))
    world.away = 1000
    running = asyncio.create_task(world.audit.run())
    await asyncio.sleep(100)
    assert world.purged == []
    world.away = 0
    await asyncio.sleep(30)

    assert world.purged == [(PODS, "gone", "u-gone")]
    running.cancel()


def a_page(*names, position=""):
    items = [
        {"metadata": {"namespace": "team", "name": n, "uid": f"u-{n}", "resourceVersion": "7"}}
        for n in names
    ]
    return {"metadata": {"continue": position, "resourceVersion": "7"}, "items": items}


async def test_a_listing_reads_every_page_of_metadata_of_what_is_watched():
    calls = ScriptedApi(a_page("a", "b", position="next"), a_page("c"))
    found = await MetadataLister(calls, "team").list_metadata(PODS)

    assert [name for _, name in found] == ["a", "b", "c"]
    assert found["team", "a"].uid == "u-a"
    assert [made.path for made in calls.made] == ["/api/v1/namespaces/team/pods"] * 2
    assert calls.made[0].query["labelSelector"] == "lumen.dev/service"
    assert "PartialObjectMetadataList" in calls.made[0].accept


async def test_cluster_scoped_kinds_are_listed_whole_even_by_an_operator_of_one_namespace():
    calls = ScriptedApi(a_page())
    await MetadataLister(calls, "team").list_metadata(NODES)

    assert calls.made[0].path == "/api/v1/nodes"
    assert "labelSelector" not in calls.made[0].query


async def test_a_listing_whose_place_was_forgotten_begins_anew():
    gone = HistoryGone("the continue parameter is too old", status=410)
    calls = ScriptedApi(a_page("a", position="old"), gone, a_page("a", "b"))

    assert len(await MetadataLister(calls).list_metadata(PODS)) == 2


async def test_metadata_that_is_too_large_for_one_answer_is_asked_for_in_smaller_ones():
    too_large = TooLarge("the answer is larger")
    calls = ScriptedApi(too_large, too_large, a_page("a", position="here"), a_page("b"))

    listed = await MetadataLister(calls).list_metadata(NODES)

    assert {name for _, name in listed} == {"a", "b"}
    assert [request.query["limit"] for request in calls.made] == ["500", "50", "5", "500"]
