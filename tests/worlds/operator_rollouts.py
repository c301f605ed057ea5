"""Services in the middle of a rollout, and what its tests look at."""

from dataclasses import replace

from operator_world import OTHER_SPACE, SPACE, World, ended_badly, ended_well, verified

from lumen_cluster.kinds import CONFIG_MAPS, PODS
from lumen_operator.observe.gather import external_uid
from lumen_operator.observe.kinds import Key
from lumen_operator.observe.views import PodReport

BAD = {"resources": {"limits": {"memory": "1Mi"}}}
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def pins_of(world: World) -> dict[str, dict]:
    return {
        each["metadata"]["name"]: each["data"]
        for each in world.all(CONFIG_MAPS)
        if "-pins-" in each["metadata"]["name"]
    }


def steps(world: World, key: Key) -> tuple[int, int]:
    found = world.deployment(key)["spec"]["strategy"]["rollingUpdate"]
    return found["maxSurge"], found["maxUnavailable"]


def revision_of(world: World, key: Key) -> str:
    labels = world.deployment(key)["spec"]["template"]["metadata"]["labels"]
    return labels["lumen.dev/revision"]


def failing(world: World, key: Key, **spec) -> None:
    """Change the spec, and let the first new pod fail."""
    world.change(key, **spec)
    world.a_pod(key, "new", containerStatuses=[ended_badly("server", "boom")])


def gpu_service(world: World, devices: int = 1, **spec) -> Key:
    world.node("g1", devices=devices)
    key = world.served(pool="cuda", **spec)
    for pod in world.all(PODS):
        pod["spec"]["nodeName"] = "g1"
    return key


def of_other_space(world: World) -> Key:
    """A service whose new model's first pod has verified files of another space."""
    key = world.served()
    world.change(key, model={"name": "MobileCLIP2-S4"})
    world.pod(key, "new")
    words = verified(revision="commit-7", embeddingSpace=OTHER_SPACE, digest="e" * 64)
    world.set_pod("new", initContainerStatuses=[ended_well("resources", words)])
    return key


def report(world: World, uid: str, space: str = SPACE) -> None:
    page = {
        "phase": "serving",
        "runtime": {"name": "rknn", "device": "rk3588"},
        "embeddingSpace": space,
        "files": {"revision": "commit-1", "digest": "d" * 64, "bytes": 9},
        "tasks": ["clip_image_embed"],
    }
    world.reports[uid] = PodReport(uid, "server", page, world.now)


def report_outside(
    world: World, key: Key, address: str, space: str = SPACE, addresses: tuple[str, ...] = ()
) -> None:
    """Let the server of an external service answer, at these addresses of its name."""
    uid = external_uid(key, address)
    report(world, uid, space)
    world.reports[uid] = replace(world.reports[uid], addresses=addresses)


def silence_outside(world: World, key: Key, address: str, addresses: tuple[str, ...] = ()) -> None:
    """Let the server of an external service be asked in vain for too long."""
    uid = external_uid(key, address)
    world.reports[uid] = PodReport(uid, "server", {}, world.now, addresses, answers=False)
