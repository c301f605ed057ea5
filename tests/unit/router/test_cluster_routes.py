"""What the cluster's objects mean as routes: the pure core of the router's cluster source."""

import pytest
from cluster_objects import a_model_service, a_route, a_slice, an_endpoint
from hypothesis import given
from hypothesis import strategies as st

from lumen_cluster.kinds import Event, EventType
from lumen_cluster.store import Store
from lumen_manifest.spec.enums import Family
from lumen_router.errors import ObjectUnreadable
from lumen_router.routes.cluster_objects import (
    keep_model_service,
    keep_slice,
    parse_model_service,
    parse_slice,
    routes_of_cluster,
)
from lumen_router.routes.from_cluster import ParseOnce
from lumen_router.routes.from_file import parse_routes


def read_service(raw):
    return parse_model_service(Store(keep_model_service).keep(raw))


def read_slice(raw):
    return parse_slice(Store(keep_slice).keep(raw))


def routes_of(services=(), slices=()):
    return routes_of_cluster(map(read_service, services), map(read_slice, slices))


def addresses(routes, name="clip"):
    """Where new calls to a service may go."""
    return {
        endpoint.address
        for service in routes.services
        if service.name == name
        for route in service.routes
        for endpoint in route.endpoints
        if endpoint.takes_calls
    }


def taken(*endpoints, **changes):
    return addresses(routes_of([a_model_service()], [a_slice("one", *endpoints, **changes)]))


@pytest.mark.parametrize(
    ("conditions", "gets_calls"),
    [
        ({}, True),
        # What nobody has stated means ready.
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({"ready": False, "serving": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "terminating": True}, False),
        ({"ready": True, "serving": False}, False),
    ],
    ids=["ready", "unstated", "not ready", "leaving", "leaving, published", "published, not ready"],
)
def test_a_pod_gets_calls_on_its_grpc_port_while_it_is_ready_and_stays(conditions, gets_calls):
    found = taken(an_endpoint("198.18.0.1", **conditions), {"addresses": ["198.18.0.2"]})

    assert found == {"198.18.0.2:50051"} | ({"198.18.0.1:50051"} if gets_calls else set())


def test_a_pod_that_leaves_is_a_last_resort_for_as_long_as_it_serves():
    leaving = {"ready": False, "terminating": True}
    listed = a_slice(
        "one",
        an_endpoint("198.18.0.1", **leaving, serving=True),
        an_endpoint("198.18.0.2", **leaving, serving=False),
    )

    (service,) = routes_of([a_model_service()], [listed]).services

    assert [one.is_last_resort for one in service.routes[0].endpoints] == [True, False]


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([{"name": "metrics", "port": 9090}, {"name": "grpc", "port": 7000}], 7000),
        ([{"name": "", "port": 7001}], 7001),
        ([{"port": 7002}], 7002),
        (None, 50051),
        ([], 50051),
    ],
)
def test_the_port_is_the_one_named_grpc_else_the_only_one_else_the_usual(ports, expected):
    assert taken(an_endpoint("198.18.0.1"), ports=ports) == {f"198.18.0.1:{expected}"}


def test_a_slice_without_endpoints_is_no_trouble():
    assert taken(endpoints=None) == set()


def test_an_address_in_two_slices_is_one_pod_and_terminating_wins():
    slices = [
        a_slice("one", an_endpoint("198.18.0.1"), an_endpoint("198.18.0.2", ready=False)),
        a_slice(
            "two",
            an_endpoint("198.18.0.1", ready=False, terminating=True),
            an_endpoint("198.18.0.2"),
        ),
    ]

    routes = routes_of([a_model_service()], slices)

    assert len(routes.services[0].routes[0].endpoints) == 2
    assert addresses(routes) == {"198.18.0.2:50051"}


def test_a_new_pod_may_have_the_address_of_one_that_is_still_listed_as_leaving():
    left = an_endpoint("198.18.0.1", pod="old", ready=False, terminating=True)
    new = an_endpoint("198.18.0.1", pod="new")

    assert taken(left, new) == taken(new, left) == {"198.18.0.1:50051"}


def test_a_pod_of_two_address_families_gets_its_share_once():
    slices = [
        a_slice("six", an_endpoint("2001:db8::1", pod="a"), addressType="IPv6"),
        a_slice("four", an_endpoint("198.18.0.1", pod="a")),
        a_slice("only-six", an_endpoint("2001:db8::2", pod="b"), addressType="IPv6"),
    ]

    routes = routes_of([a_model_service()], slices)

    assert addresses(routes) == {"198.18.0.1:50051", "[2001:db8::2]:50051"}


def test_every_variant_has_its_own_pods_weight_and_space():
    status = {
        "embeddingSpace": "a" * 64,
        "routes": [
            a_route("clip-stable", weight=90, space="a" * 64),
            a_route("clip-next", "next", 10, "b" * 64),
        ],
    }
    slices = [
        a_slice("one", an_endpoint("198.18.0.1")),
        a_slice("two", an_endpoint("198.18.0.2"), of="clip-next"),
    ]

    (service,) = routes_of([a_model_service(status=status)], slices).services

    told = [(one.variant, one.weight, one.embedding_space) for one in service.routes]
    assert told == [("stable", 90, "a" * 64), ("next", 10, "b" * 64)]
    assert [[e.address for e in one.endpoints] for one in service.routes] == [
        ["198.18.0.1:50051"],
        ["198.18.0.2:50051"],
    ]
    assert service.embedding_space == "a" * 64


def test_a_service_whose_name_is_anothers_kubernetes_service_takes_none_of_its_pods():
    services = [a_model_service("clip"), a_model_service("clip-stable", status={})]
    slices = [a_slice("one", an_endpoint("198.18.0.1"))]

    routes = routes_of(services, slices)

    assert addresses(routes, "clip") == {"198.18.0.1:50051"}
    assert addresses(routes, "clip-stable") == set()


def test_an_external_service_is_called_at_the_addresses_that_its_status_names():
    said = [a_route("10.1.2.3:50051", "external"), a_route("[fd00:7::9]:50051", "external")]
    routes = routes_of([a_model_service(external="board.local:50051", status={"routes": said})])

    assert addresses(routes) == {"10.1.2.3:50051", "[fd00:7::9]:50051"}


@pytest.mark.parametrize("status", [None, {}, {"routes": []}, {"routes": [a_route("clip-stable")]}])
def test_an_external_service_that_nobody_has_accepted_is_not_called(status):
    routes = routes_of([a_model_service(external="169.254.169.254:80", status=status)])

    assert addresses(routes) == set()


def test_a_service_that_is_being_deleted_is_gone_and_the_next_one_answers_for_the_family():
    leaving = {"deletionTimestamp": "2026-04-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
    services = [
        a_model_service("first", default=True, metadata=leaving),
        a_model_service("second", created="2026-02-01T00:00:00Z"),
    ]

    routes = routes_of(services)

    assert [service.name for service in routes.services] == ["second"]
    assert routes.default_of(Family.CLIP).name == "second"


def test_a_service_keeps_its_routes_whatever_else_its_spec_and_status_say():
    service = a_model_service(
        fromTheFuture=1,
        replicas=-3,
        labelSets=[{"nonsense": True}],
        status={
            "routes": [a_route("clip-stable") | {"fromTheFuture": 1}],
            "replicas": "many",
            "reason": "ServerCrashed",
            "conditions": [
                {"type": "FromTheFuture", "status": "Maybe"},
                {
                    "type": "Ready",
                    "status": "False",
                    "reason": "ServerCrashed",
                    "message": "look at its log",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                },
            ],
        },
    )

    routes = routes_of([service], [a_slice("one", an_endpoint("198.18.0.1"))])

    assert addresses(routes) == {"198.18.0.1:50051"}
    assert (routes.services[0].reason, routes.services[0].message) == (
        "ServerCrashed",
        "look at its log",
    )


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": {"name": "x"}},
        {"metadata": {"name": "x"}, "spec": []},
        {"metadata": None, "spec": {"family": "clip"}},
        {"metadata": {"name": "x"}, "spec": {"family": "dinosaur"}},
        {"metadata": {"name": "x"}, "spec": {"family": "clip"}, "status": {"conditions": [7]}},
        {"metadata": {"name": "x"}, "spec": {"family": "clip"}, "status": {"routes": "none"}},
        {"metadata": {"name": "x"}, "spec": {"family": "clip", "external": "no port"}},
    ],
)
def test_a_service_that_says_nothing_usable_is_refused_by_name(raw):
    with pytest.raises(ObjectUnreadable, match="LumenModelService"):
        read_service(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": {"name": "x"}, "endpoints": 3},
        {"metadata": {"name": "x"}, "endpoints": [{"addresses": [None]}]},
        {"metadata": {"name": "x"}, "ports": [{"port": 70000}]},
        {"metadata": {"name": "x"}, "addressType": "Carrier pigeon"},
    ],
)
def test_a_slice_that_says_nothing_usable_is_refused_by_name(raw):
    with pytest.raises(ObjectUnreadable, match="EndpointSlice"):
        read_slice(raw)


def test_the_cluster_and_the_routes_file_of_the_same_services_give_the_same_routes():
    text = """{"services": [{"apiVersion": "lumen.dev/v1alpha1", "kind": "LumenModelService",
      "metadata": {"name": "clip", "creationTimestamp": "2026-01-01T00:00:00Z"},
      "spec": {"family": "clip", "aliases": ["fast"], "pool": "cpu",
               "model": {"name": "clip", "runtime": "onnx"}, "scenes": {"threshold": 0.7}},
      "status": {"routes": [{"variant": "stable", "service": "clip-stable", "weight": 100}]}}],
      "endpoints": {"clip-stable": [{"address": "198.18.0.1:50051", "ready": true},
                                    {"address": "198.18.0.2:50051", "terminating": true}]}}"""
    service = a_model_service(aliases=["fast"], scenes={"threshold": 0.7})
    leaving = an_endpoint("198.18.0.2", ready=False, serving=False, terminating=True)

    expected = parse_routes(text.encode())

    assert expected == routes_of([service], [a_slice("one", an_endpoint("198.18.0.1"), leaving)])


# A world of few names, so that objects are often made again, changed and deleted.
_VERSIONS = st.integers(1, 4)
_SERVICES = st.builds(
    lambda name, version, aliases: a_model_service(name, version=version, aliases=aliases),
    st.sampled_from(["clip", "fast", "third"]),
    _VERSIONS,
    st.lists(st.sampled_from(["quick", "small"]), max_size=2, unique=True),
)
_SLICES = st.builds(
    lambda name, of, hosts, ready, version: a_slice(
        name,
        *(an_endpoint(f"198.18.0.{host}", ready=ready) for host in hosts),
        of=of,
        version=version,
    ),
    st.sampled_from(["s1", "s2", "s3"]),
    st.sampled_from(["clip-stable", "fast-stable"]),
    st.lists(st.integers(1, 4), max_size=3, unique=True),
    st.booleans(),
    _VERSIONS,
)


def _history(objects):
    """Steps of a namespace's life: an object is put or deleted, or the router lists anew."""
    step = st.one_of(
        st.tuples(st.just("put"), objects),
        st.tuples(st.just("delete"), objects),
        st.tuples(st.just("relist"), st.none()),
        st.tuples(st.just("missed"), objects),
    )
    return st.lists(step, max_size=25)


def _replay(steps, keep, parse):
    """Return what a mirror knows in the end, read after each step, and what a fresh list says."""
    mirror, reading, truth, count = Store(keep), ParseOnce(parse), {}, 0
    mirror.replace((), "0")
    blind = False
    for what, given_object in steps:
        count += 1
        if what == "relist":
            mirror.replace([mirror.keep(each) for each in truth.values()], str(count))
            blind = False
        else:
            event = _change(truth, what, given_object, count)
            # From a cut on, until the next list, the watch reports nothing.
            blind = blind or what == "missed"
            if event is not None and not blind:
                mirror.apply(Event(event.type, mirror.keep(event.object)))
        reading.read(mirror.objects)
    if blind:
        mirror.replace([mirror.keep(each) for each in truth.values()], str(count))
    return reading.read(mirror.objects), truth.values()


def _change(truth, what, given_object, count):
    name = given_object["metadata"]["name"]
    versioned = {
        **given_object,
        "metadata": {**given_object["metadata"], "resourceVersion": str(count)},
    }
    if what == "delete":
        known = truth.pop(name, None)
        return None if known is None else Event(EventType.DELETED, versioned)
    kind = EventType.MODIFIED if name in truth else EventType.ADDED
    truth[name] = versioned
    return Event(kind, versioned)


@given(_history(_SERVICES), _history(_SLICES))
def test_any_history_of_events_and_lists_ends_in_the_routes_of_a_fresh_list(services, slices):
    known_services, all_services = _replay(services, keep_model_service, parse_model_service)
    known_slices, all_slices = _replay(slices, keep_slice, parse_slice)

    assert routes_of_cluster(known_services, known_slices) == routes_of(all_services, all_slices)


@given(st.lists(_SERVICES, max_size=6), st.lists(_SLICES, max_size=6), st.randoms())
def test_the_order_of_objects_changes_nothing(services, slices, random):
    services = list({one["metadata"]["name"]: one for one in services}.values())
    slices = list({one["metadata"]["name"]: one for one in slices}.values())
    expected = routes_of(services, slices)
    random.shuffle(services)
    random.shuffle(slices)

    assert expected == routes_of(services, slices)
