import pytest

from lumen_cluster.kinds import DEPLOYMENTS, Event, EventType
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.observe.event_handler import EventHandler
from lumen_operator.observe.kinds import WATCHED_KINDS, Key
from lumen_operator.observe.store import ObjectCache

CLIP = Key("service", "team", "clip")


def a_child(name="clip-stable", version="1", uid="u1"):
    labels = {"lumen.dev/service": "clip"}
    metadata = {"name": name, "namespace": "team", "uid": uid, "labels": labels}
    return {"metadata": {**metadata, "resourceVersion": version}}


class World:
    def __init__(self):
        self.cache = ObjectCache()
        self.keys = []
        self.feed = EventHandler(self.cache, self.keys.append, OperatorMetrics().heard)

    def hears(self, type_, raw, kind=DEPLOYMENTS):
        self.cache.stores[kind].apply(Event(EventType(type_), raw))


@pytest.fixture
async def world():
    return World()


async def test_an_event_is_kept_and_its_service_is_added(world):
    world.hears("ADDED", a_child())

    assert world.cache.get(DEPLOYMENTS, "team", "clip-stable")["metadata"]["uid"] == "u1"
    assert world.keys == [CLIP]


async def test_the_echo_of_a_write_is_no_work(world):
    world.cache.put(DEPLOYMENTS, a_child(version="5"))
    world.hears("MODIFIED", a_child(version="5"))

    assert world.keys == []


async def test_a_deletion_is_kept_and_its_service_is_added(world):
    world.hears("ADDED", a_child())
    world.hears("DELETED", a_child(version="2"))

    assert world.cache.get(DEPLOYMENTS, "team", "clip-stable") is None
    assert world.keys == [CLIP, CLIP]


async def test_a_list_says_what_is_there_and_what_is_not_in_it_is_gone(world):
    followed = world.cache.stores[DEPLOYMENTS]
    world.hears("ADDED", a_child("clip-old", version="3"))
    world.hears("ADDED", a_child("clip-written-since", version="9"))
    world.keys.clear()

    followed.replace([followed.keep(a_child(version="5"))], "7")

    names = {raw["metadata"]["name"] for raw in world.cache.all(DEPLOYMENTS)}
    assert names == {"clip-stable", "clip-written-since"}
    assert world.keys == [CLIP, CLIP]


async def test_what_is_followed_is_known_once_every_kind_was_listed(world):
    *others, last = WATCHED_KINDS
    for kind in others:
        world.cache.stores[kind].replace([], "1")
    assert not world.feed.followed.is_set()

    world.cache.stores[last].replace([], "1")
    assert world.feed.followed.is_set()


@pytest.mark.parametrize("kind", WATCHED_KINDS, ids=lambda kind: kind.plural)
@pytest.mark.parametrize(
    "part", [None, 7, "text", [], [[None]], {"conditions": [7], "template": 7, "containers": {}}]
)
async def test_no_shape_of_an_object_ends_a_watch(world, kind, part):
    odd = a_child() | {"spec": part, "status": part, "data": part}
    odd["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "9" * 5_000}
    followed = world.cache.stores[kind]

    for version in ("2", "3"):
        odd["metadata"]["resourceVersion"] = version
        followed.apply(Event(EventType.MODIFIED, followed.keep(odd)))
    followed.replace([followed.keep(odd)], "4")

    assert world.cache.get(kind, "team", "clip-stable") is not None
