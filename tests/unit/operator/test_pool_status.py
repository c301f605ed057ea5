"""What `kubectl get lnp` shows, and what a pool that cannot run pods says."""

from operator_world import NAMESPACE, World

from lumen_cluster.kinds import PODS
from lumen_manifest.node_pool import default_pools
from lumen_manifest.reading.parse import parse_object
from lumen_manifest.spec.enums import Accelerator
from lumen_operator.decide import Decision, decide_default_pools, decide_pool
from lumen_operator.observe.gather import gather_pool
from lumen_operator.observe.kinds import POOLS, Key


def decided(world: World, name: str = "cuda") -> Decision:
    observed = gather_pool(world, Key("pool", "", name))
    assert observed is not None
    return decide_pool(observed, world.now)


def written(world: World, name: str = "cuda") -> dict:
    status = decided(world, name).status
    assert status is not None
    world.objects["lumennodepools", "", name]["status"] = status
    return dict(status)


def a_pod(world: World, name: str, node: str, service: str, phase: str = "Running") -> None:
    asked = {"limits": {"nvidia.com/gpu": "1"}}
    world.put(
        PODS,
        {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {"lumen.dev/service": service},
            },
            "spec": {"nodeName": node, "containers": [{"name": "server", "resources": asked}]},
            "status": {"phase": phase},
        },
    )


def ready_of(status: dict) -> dict:
    (found,) = [c for c in status["conditions"] if c["type"] == "Ready"]
    return found


def test_nodes_and_devices_are_counted_with_what_lumen_s_pods_hold(world):
    world.node("g1", devices=4)
    world.node("g2", devices=2)
    world.node("plain")
    a_pod(world, "p1", "g1", "clip")
    a_pod(world, "p2", "g2", "bioclip")
    a_pod(world, "over", "g2", "bioclip", phase="Succeeded")
    a_pod(world, "elsewhere", "plain", "clip")

    status = written(world)

    assert status["nodes"] == 2
    assert status["devices"] == {"allocatable": 6, "allocated": 2}
    assert status["devicesFree"] == "4/6"
    assert ready_of(status)["status"] == "True"


def test_a_status_that_is_right_is_not_written_again(world):
    world.node("g1", devices=1)
    written(world)
    world.later(60)

    assert decided(world) == Decision()


def test_a_node_that_is_not_ready_offers_nothing(world):
    world.node("g1", devices=1)
    world.node("g2", devices=1)
    world.objects["nodes", "", "g2"]["status"]["conditions"] = []

    assert written(world)["devicesFree"] == "1/1"


def test_a_pool_without_nodes_says_which_label_it_wants(world):

    ready = ready_of(written(world))

    assert (ready["status"], ready["reason"]) == ("False", "NoNodeInPool")
    assert ready["message"].endswith("kubectl label node NAME gpu=yes")


def test_nodes_without_the_device_point_to_the_device_plugin(world):
    world.node("g1", labels={"gpu": "yes"})

    ready = ready_of(written(world))

    assert (ready["status"], ready["reason"]) == ("False", "WaitingForDevice")
    assert "device plugin" in ready["message"]


def test_a_pool_that_breaks_a_rule_says_so(world):
    world.pool("odd", accelerator="cpu", device={"resource": "nvidia.com/gpu"})

    status = written(world, "odd")

    assert {c["reason"] for c in status["conditions"]} == {"InvalidSpec"}
    assert "accelerator cpu has no device" in ready_of(status)["message"]


def test_a_cpu_pool_has_no_devices_to_show(world):
    status = written(world, "cpu")

    assert "devices" not in status
    assert status["devicesFree"] == ""


def test_missing_default_pools_are_made_and_others_left_alone():
    made = decide_default_pools({"cuda", "mine"}, default_pools())

    assert [each["metadata"]["name"] for each in made] == ["cpu", "rocm", "rk3588"]
    for manifest in made:
        pool = parse_object(manifest)
        assert pool.spec.accelerator == Accelerator(pool.metadata.name)
        assert manifest["kind"] == POOLS.kind
