"""What a cluster shows when a condition has a reason: one scene for each of them."""

from collections.abc import Callable

from operator_world import (
    NAMESPACE,
    World,
    ended_badly,
    ended_well,
    failure,
    running,
    unschedulable,
    verified,
    waiting,
)

from lumen_manifest.conditions import OUTCOMES, Reason
from lumen_manifest.conditions import ConditionType as C
from lumen_operator.observe.kinds import Key

Scene = Callable[[World], Key]
SCENES: dict[tuple[C, Reason], Scene] = {}


def scene(type_: C, reason: Reason) -> Callable[[Scene], Scene]:
    """File a scene under what it must lead to; the key it returns has been reconciled."""

    def file(build: Scene) -> Scene:
        assert (type_, reason) not in SCENES
        SCENES[type_, reason] = build
        return build

    return file


def with_pod(world: World, **spec) -> Key:
    """A service whose first pod exists."""
    key = world.settled(**spec)
    world.pod(key)
    return key


def with_init(world: World, *statuses: dict, **spec) -> Key:
    key = with_pod(world, **spec)
    world.set_pod("p1", initContainerStatuses=list(statuses))
    return key


def with_server(world: World, status: dict, **spec) -> Key:
    key = with_pod(world, **spec)
    world.set_pod(
        "p1",
        initContainerStatuses=[ended_well("resources", verified())],
        containerStatuses=[status],
    )
    return key


def waiting_for_node(world: World, message: str, **spec) -> Key:
    key = with_pod(world, **spec)
    world.set_pod("p1", node="", conditions=unschedulable(message))
    return key


# Accepted


@scene(C.ACCEPTED, Reason.ACCEPTED)
@scene(C.RESOURCES_READY, Reason.UNKNOWN)
@scene(C.DEVICE_READY, Reason.UNKNOWN)
@scene(C.AVAILABLE, Reason.NO_REPLICA_READY)
@scene(C.PROGRESSING, Reason.ROLLING_OUT)
def just_applied(world):
    return world.service()


@scene(C.ACCEPTED, Reason.INVALID_SPEC)
def a_rule_that_the_server_did_not_check(world):
    return world.service(scenes={"preset": "oct2025", "prompts": ["a", "b"]})


@scene(C.ACCEPTED, Reason.UNKNOWN_POOL)
def a_pool_that_is_not_there(world):
    return world.service(pool="tpu")


@scene(C.ACCEPTED, Reason.RUNTIME_NOT_ON_POOL)
def a_runtime_the_pool_does_not_run(world):
    return world.service(model={"runtime": "rknn", "precision": "fp16"})


@scene(C.ACCEPTED, Reason.DEFAULT_CONFLICT)
def two_defaults(world):
    world.service("older", default=True)
    world.later(1)
    return world.service(default=True)


@scene(C.ACCEPTED, Reason.FIELD_CONFLICT)
def another_manager_applies_the_replicas(world):
    key = world.settled()
    world.deployment(key)["metadata"]["managedFields"] = [
        {
            "manager": "argocd",
            "operation": "Apply",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
    ]
    return key


# ResourcesReady


@scene(C.RESOURCES_READY, Reason.VERIFIED)
@scene(C.DEVICE_READY, Reason.DEVICE_ATTESTED)
@scene(C.AVAILABLE, Reason.MINIMUM_REPLICAS_AVAILABLE)
@scene(C.PROGRESSING, Reason.ROLLOUT_COMPLETE)
@scene(C.READY, Reason.READY)
def a_pod_serves(world):
    return world.served()


@scene(C.RESOURCES_READY, Reason.FETCHING)
def the_init_container_runs(world):
    return with_init(world, running("resources"))


@scene(C.RESOURCES_READY, Reason.PREPARING)
def the_vectors_are_computed(world):
    done = ended_well("resources", verified())
    return with_init(world, done, running("prepare"), labelSets=[{"name": "a"}])


@scene(C.RESOURCES_READY, Reason.STALLED)
def nothing_moves(world):
    key = with_init(world, running("resources"))
    for _ in range(2):
        world.report("p1", "resources", phase="Fetching", bytesDone=7, bytesTotal=9, file="a.onnx")
        world.reconcile(key)
        world.later(121)
    return key


@scene(C.RESOURCES_READY, Reason.CACHE_EVICTED)
def the_cache_outgrew_its_limit(world):
    key = with_pod(world)
    world.set_pod(
        "p1",
        phase="Failed",
        reason="Evicted",
        message='Usage of EmptyDir volume "cache" exceeds the limit "8Gi". ',
    )
    return key


@scene(C.RESOURCES_READY, Reason.VOLUME_NOT_BOUND)
def the_claim_is_missing(world):
    return waiting_for_node(
        world,
        '0/1 nodes are available: persistentvolumeclaim "models" not found.',
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    )


# DeviceReady


@scene(C.DEVICE_READY, Reason.WAITING_FOR_DEVICE)
def the_card_is_taken(world):
    world.node("g1", devices=1)
    world.served("bioclip", family="bioclip", pool="cuda")
    world.objects["pods", NAMESPACE, "bioclip-0"]["spec"]["nodeName"] = "g1"
    return waiting_for_node(
        world,
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match.",
        pool="cuda",
    )


@scene(C.DEVICE_READY, Reason.NO_NODE_IN_POOL)
def no_node_has_the_label(world):
    message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    return waiting_for_node(world, message, pool="cuda")


# Available


@scene(C.AVAILABLE, Reason.SCALED_TO_ZERO)
def scaled_to_zero(world):
    return world.service(replicas=0)


@scene(C.AVAILABLE, Reason.IMAGE_PULL_FAILED)
def the_image_is_not_there(world):
    return with_init(world, waiting("resources", "ImagePullBackOff", "no such image: lumen/x"))


@scene(C.AVAILABLE, Reason.PODS_FORBIDDEN)
def a_quota_forbids_the_pods(world):
    key = world.settled()
    world.replica_set(
        key,
        status={
            "conditions": [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": 'pods "clip-x" is forbidden: exceeded quota: compute',
                }
            ]
        },
    )
    return key


@scene(C.AVAILABLE, Reason.SERVER_CRASHED)
def the_server_ended(world):
    return with_server(world, ended_badly("server", "Segmentation fault", code=139))


@scene(C.AVAILABLE, Reason.OUT_OF_MEMORY)
def the_server_outgrew_its_memory(world):
    return with_server(world, ended_badly("server", code=137, reason="OOMKilled"))


# Progressing


@scene(C.PROGRESSING, Reason.ROLLOUT_STALLED)
def the_first_revision_never_becomes_ready(world):
    key = with_server(world, ended_badly("server", "boom"))
    world.later(901)
    return key


@scene(C.PROGRESSING, Reason.ROLLED_BACK)
def a_later_revision_never_becomes_ready(world):
    key = world.served()
    world.change(key, resources={"limits": {"memory": "1Mi"}})
    world.a_pod(key, "p2", containerStatuses=[ended_badly("server", code=137, reason="OOMKilled")])
    world.later(901)
    return key


# Autoscaling


def autoscaled(world: World, status: str, reason: str) -> Key:
    key = world.served(autoscaling={"maxReplicas": 3})
    said = {"type": "ScalingActive", "status": status, "reason": reason, "message": "words"}
    world.objects["horizontalpodautoscalers", NAMESPACE, "clip-lumen"]["status"] = {
        "conditions": [said]
    }
    return key


@scene(C.AUTOSCALING, Reason.ACTIVE)
def the_autoscaler_is_at_work(world):
    return autoscaled(world, "True", "ValidMetricFound")


@scene(C.AUTOSCALING, Reason.METRICS_UNAVAILABLE)
def the_metric_is_missing(world):
    return autoscaled(world, "False", "FailedGetPodsMetric")


# What a container says at its end


def _last_words(reason: Reason) -> Scene:
    return lambda world: with_init(world, ended_badly("resources", failure(reason)))


def _server_words(reason: Reason) -> Scene:
    return lambda world: with_server(world, ended_badly("server", failure(reason)), pool="cuda")


for _type, _words in ((C.RESOURCES_READY, _last_words), (C.DEVICE_READY, _server_words)):
    for _reason in OUTCOMES[_type].otherwise:
        SCENES.setdefault((_type, _reason), _words(_reason))


def all_outcomes() -> list[tuple[C, Reason]]:
    every = [(t, r) for t, outcome in OUTCOMES.items() for r in (*outcome.true, *outcome.otherwise)]
    return [*every, (C.READY, Reason.READY)]
