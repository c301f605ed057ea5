"""A service in two variants: each is replaced by itself, and all of them are the service."""

from collections import Counter
from dataclasses import replace

import pytest
from cluster_objects import a_slice, an_endpoint
from operator_rollouts import NO_GPU, gpu_service
from operator_world import NAMESPACE, OTHER_SPACE, ended_badly, ended_well, unschedulable, verified

from lumen_cluster.kinds import PODS
from lumen_manifest.conditions import ConditionType as C
from lumen_manifest.names import VARIANT_LABEL
from lumen_operator.children.desired import render_children, wanted
from lumen_operator.decide import Decision
from lumen_operator.observe import parse
from lumen_operator.observe.kinds import POOLS
from lumen_operator.rollout.model import Variant, variants_of
from lumen_operator.rollout.plan import plan_rollout
from lumen_operator.status.service import service_status
from lumen_router.routes.cluster_objects import parse_model_service, parse_slice, routes_of_cluster
from lumen_router.upstream.policy import choose_weighted


class Canary:
    """The service of a world, a tenth of whose calls go to a variant that runs on `pool`."""

    def __init__(self, world, key, pool="cpu", **spec):
        self.world, self.key = world, key
        service = world.observe(key).service
        changed = service.spec.model_copy(update={"pool": pool, **spec})
        self.service = service.model_copy(update={"spec": changed})
        self.pool, _ = parse.pool(world.get(POOLS, "", pool))
        self.carry_out()

    def plan(self):
        """Plan the rollout of both variants, the stable one's first."""
        observed = self.world.observe(self.key)
        pool = observed.pools[observed.service.spec.pool]
        stable = replace(*variants_of(observed.service, pool), weight=90)
        canary = Variant("canary", self.service, self.pool, self.service.revision_name, weight=10)
        return [plan_rollout(observed, each) for each in (stable, canary)]

    def children(self):
        observed = self.world.observe(self.key)
        return render_children(wanted(observed, self.plan(), self.world.context))

    def status(self):
        return service_status(self.world.observe(self.key), self.plan(), None)

    def carry_out(self):
        status = self.status().model_dump(mode="json", by_alias=True, exclude_none=True)
        self.world.carry_out(self.key, Decision(apply=self.children(), status=status))

    def said(self, type_):
        (found,) = [each for each in self.status().conditions if each.type is type_]
        return found


def of_kind(manifests, kind):
    return [each for each in manifests if each["kind"] == kind]


@pytest.fixture
def on_two_pools(world):
    """Two pods of the stable variant share one device and change over; another has a CPU."""
    key = gpu_service(world, devices=1, replicas=2)
    world.set_pod("clip-1", node="", conditions=unschedulable(NO_GPU))
    world.service(server={"maxBatchSize": 8})
    made = Canary(world, key, replicas=1)
    for name, variant in (("new", "stable"), ("bird", "canary")):
        world.pod(key, name, variant)
    world.set_pod("new", node="", conditions=unschedulable(NO_GPU))
    world.ready(key, "bird")
    return made


def test_each_variant_is_replaced_as_its_own_pool_allows(on_two_pools):
    stable, canary = on_two_pools.plan()

    assert (stable.surge, stable.missing, stable.replicas) == (False, 1, 2)
    assert (canary.surge, canary.missing, canary.replicas) == (True, 0, 1)
    assert [pod.name for pod in stable.pods.old] == ["clip-0", "clip-1"]
    assert [[pod.name for pod in each.pods.fresh] for each in (stable, canary)] == [
        ["new"],
        ["bird"],
    ]
    assert (stable.runs, canary.runs) == (True, False)


def test_a_device_that_another_variant_holds_is_not_free(world):
    key = gpu_service(world, devices=2)
    world.service(server={"maxBatchSize": 8})
    made = Canary(world, key, "cuda")
    world.a_pod(key, "new", node="", conditions=unschedulable(NO_GPU))
    assert made.plan()[0].surge  # for a moment the device may still be handed out

    world.pod(key, "bird", "canary")
    world.set_pod("bird", node="g1")
    assert not made.plan()[0].surge


def test_each_variant_has_a_deployment_and_a_headless_service(on_two_pools):
    children = on_two_pools.children()
    deployments, services = of_kind(children, "Deployment"), of_kind(children, "Service")

    for kind in (deployments, services):
        assert [each["metadata"]["name"] for each in kind] == ["clip-stable", "clip-canary"]
    for deployment, service in zip(deployments, services, strict=True):
        pods = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= pods.items()
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert [each["spec"]["selector"][VARIANT_LABEL] for each in services] == ["stable", "canary"]
    assert [each["spec"]["strategy"]["rollingUpdate"]["maxSurge"] for each in deployments] == [0, 1]


def test_what_a_service_has_one_of_is_rendered_once(on_two_pools):
    counted = Counter(each["kind"] for each in on_two_pools.children())
    pins = [each for each in on_two_pools.children() if "-pins-" in each["metadata"]["name"]]

    assert counted["NetworkPolicy"] == counted["PodDisruptionBudget"] == 1
    assert counted["ControllerRevision"] == len(pins) == 1  # both run the same model


def test_the_status_of_the_service_is_that_of_all_its_variants(on_two_pools):
    status = on_two_pools.status()

    assert (status.replicas, status.ready_replicas, status.ready) == (4, 2, "2/3")
    available = on_two_pools.said(C.AVAILABLE)
    assert (available.reason, status.reason) == ("Degraded", "WaitingForDevice")
    assert available.message.startswith("2 of 3 pods serve. WaitingForDevice: Every nvidia.com/gpu")
    assert on_two_pools.said(C.PROGRESSING).reason == "RollingOut"
    assert status.endpoint == "clip-stable.photos.svc:50051"
    assert [(r.variant, r.service, r.weight) for r in status.routes] == [
        ("stable", "clip-stable", 90),
        ("canary", "clip-canary", 10),
    ]


def test_a_variant_that_fails_is_told_of_and_the_stable_one_stays(world):
    key = world.served()
    made = Canary(world, key)
    world.pod(key, "bird", "canary")
    world.set_pod("bird", containerStatuses=[ended_badly("server", "boom")])
    world.later(901)
    stable, canary = made.plan()

    assert (stable.failed, stable.runs, stable.stable) == (None, False, stable.current)
    assert canary.failed is not None
    assert canary.target.name == "canary"
    assert (made.said(C.PROGRESSING).status, made.said(C.PROGRESSING).reason) == (
        "False",
        "RolloutStalled",
    )
    assert made.said(C.READY).status == "True"


def test_a_variant_of_another_space_is_held_back(world):
    key = world.served()
    service = world.observe(key).service
    made = Canary(
        world, key, model=service.spec.model.model_copy(update={"name": "MobileCLIP2-S4"})
    )
    world.pod(key, "bird", "canary")
    words = verified(revision="commit-7", embeddingSpace=OTHER_SPACE, digest="e" * 64)
    world.set_pod("bird", initContainerStatuses=[ended_well("resources", words)])

    assert "another embedding space" in made.plan()[1].failed.message
    assert made.status().embedding_space != OTHER_SPACE


def test_children_of_a_variant_that_is_no_more_are_deleted(world):
    key = world.served()
    Canary(world, key)
    world.settle(key)

    assert world.names(PODS) == {"clip-0"}
    assert {name for _, _, name in world.objects if "canary" in name} == set()


def test_the_weights_reach_the_router_and_its_choice(on_two_pools, world):
    on_two_pools.carry_out()
    slices = [
        a_slice(of, an_endpoint(address), of=of)
        for of, address in (("clip-stable", "198.18.0.1"), ("clip-canary", "198.18.0.2"))
    ]
    manifest = world.objects["lumenmodelservices", NAMESPACE, "clip"]
    table = routes_of_cluster([parse_model_service(manifest)], map(parse_slice, slices))
    routes = table.find("clip").routes

    assert [(each.variant, each.weight) for each in routes] == [("stable", 90), ("canary", 10)]
    assert [each.endpoints[0].address for each in routes] == [
        "198.18.0.1:50051",
        "198.18.0.2:50051",
    ]
    rolls = (choose_weighted([each.weight for each in routes], n / 100) for n in range(100))
    assert Counter(rolls) == {0: 90, 1: 10}
