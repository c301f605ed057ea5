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


def two_defaults(world):
    world.service("older", default=True)
    world.later(1)
    return world.service(default=True)


def an_older_service_has_the_name(world):
    world.service("older", aliases=["fast"])
    world.later(1)
    return world.service(aliases=["fast"])


def another_manager_applies_the_replicas(world):
    key = world.settled()
    fields = {"f:spec": {"f:replicas": {}}}
    rival = {"manager": "argocd", "operation": "Apply", "fieldsV1": fields}
    world.deployment(key)["metadata"]["managedFields"] = [rival]
    return key


def a_pod_serves(world):
    return world.served()


def nothing_moves(world):
    key = with_init(world, running("resources"))
    for _ in range(2):
        world.report("p1", "resources", phase="Fetching", bytesDone=7, bytesTotal=9, file="a.onnx")
        world.reconcile(key)
        world.later(121)
    return key


def the_cache_outgrew_its_limit(world):
    key = with_pod(world)
    message = 'Usage of EmptyDir volume "cache" exceeds the limit "8Gi". '
    world.set_pod("p1", phase="Failed", reason="Evicted", message=message)
    return key


def the_card_is_taken(world):
    world.node("g1", devices=1)
    world.served("bioclip", family="bioclip", pool="cuda")
    world.objects["pods", NAMESPACE, "bioclip-0"]["spec"]["nodeName"] = "g1"
    return waiting_for_node(
        world,
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match.",
        pool="cuda",
    )


def a_quota_forbids_the_pods(world):
    key = world.settled()
    said = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    message = 'pods "clip-x" is forbidden: exceeded quota: compute'
    world.replica_set(key, status={"conditions": [{**said, "message": message}]})
    return key


def a_policy_refuses_the_deployment(world):
    world.refuses["Deployment"] = (
        "deployments.apps \"clip-stable\" is forbidden: ValidatingAdmissionPolicy 'teams' with "
        "binding 'teams' denied request: a team label is missing"
    )
    return world.service()


def one_of_two_crashes(world):
    key = world.served(replicas=2)
    world.set_pod("clip-1", containerStatuses=[ended_badly("server", "boom")])
    return key


def the_node_is_lost(world):
    key = with_server(world, running("server"))
    world.node("n1", trouble="Kubelet stopped posting node status.")
    return key


def a_full_disk_evicts(world):
    key = with_pod(world)
    message = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi."
    world.set_pod("p1", phase="Failed", reason="Evicted", message=message)
    return key


def the_first_revision_never_becomes_ready(world):
    key = with_server(world, ended_badly("server", "boom"))
    world.later(901)
    return key


def a_later_revision_never_becomes_ready(world):
    key = world.served()
    world.change(key, resources={"limits": {"memory": "1Mi"}})
    world.a_pod(key, "p2", containerStatuses=[ended_badly("server", code=137, reason="OOMKilled")])
    world.later(901)
    return key


def autoscaled(world: World, status: str, reason: str) -> Key:
    key = world.served(autoscaling={"maxReplicas": 3})
    said = {"type": "ScalingActive", "status": status, "reason": reason, "message": "words"}
    world.objects["horizontalpodautoscalers", NAMESPACE, "clip-lumen"]["status"] = {
        "conditions": [said]
    }
    return key


def _last_words(reason: Reason) -> Scene:
    return lambda world: with_init(world, ended_badly("resources", failure(reason)))


def _server_words(reason: Reason) -> Scene:
    return lambda world: with_server(world, ended_badly("server", failure(reason)), pool="cuda")


SCENES: dict[tuple[C, Reason], Scene] = {
    # What a container says at its end, unless a later line knows better.
    **{(C.RESOURCES_READY, r): _last_words(r) for r in OUTCOMES[C.RESOURCES_READY].otherwise},
    **{(C.DEVICE_READY, r): _server_words(r) for r in OUTCOMES[C.DEVICE_READY].otherwise},
    # A service that was just applied.
    **dict.fromkeys(
        (
            (C.ACCEPTED, Reason.ACCEPTED),
            (C.RESOURCES_READY, Reason.UNKNOWN),
            (C.DEVICE_READY, Reason.UNKNOWN),
            (C.AVAILABLE, Reason.NO_REPLICA_READY),
            (C.PROGRESSING, Reason.ROLLING_OUT),
        ),
        lambda world: world.service(),
    ),
    **dict.fromkeys(
        (
            (C.RESOURCES_READY, Reason.VERIFIED),
            (C.DEVICE_READY, Reason.DEVICE_ATTESTED),
            (C.AVAILABLE, Reason.MINIMUM_REPLICAS_AVAILABLE),
            (C.PROGRESSING, Reason.ROLLOUT_COMPLETE),
            (C.READY, Reason.READY),
        ),
        a_pod_serves,
    ),
    # A rule that the API server did not check.
    (C.ACCEPTED, Reason.INVALID_SPEC): lambda world: world.service(
        scenes={"preset": "oct2025", "prompts": ["a", "b"]}
    ),
    (C.ACCEPTED, Reason.UNKNOWN_POOL): lambda world: world.service(pool="tpu"),
    (C.ACCEPTED, Reason.RUNTIME_NOT_ON_POOL): lambda world: world.service(
        model={"runtime": "rknn", "precision": "fp16"}
    ),
    (C.ACCEPTED, Reason.DEFAULT_CONFLICT): two_defaults,
    (C.ACCEPTED, Reason.NAME_CONFLICT): an_older_service_has_the_name,
    (C.ACCEPTED, Reason.FIELD_CONFLICT): another_manager_applies_the_replicas,
    (C.ACCEPTED, Reason.CHILD_REFUSED): a_policy_refuses_the_deployment,
    (C.AVAILABLE, Reason.DEGRADED): one_of_two_crashes,
    (C.AVAILABLE, Reason.NODE_NOT_READY): the_node_is_lost,
    (C.AVAILABLE, Reason.POD_EVICTED): a_full_disk_evicts,
    (C.AVAILABLE, Reason.UNSCHEDULABLE): lambda world: waiting_for_node(
        world, "0/1 nodes are available: 1 Insufficient memory."
    ),
    (C.AVAILABLE, Reason.START_FAILED): lambda world: with_init(
        world, waiting("resources", "CreateContainerConfigError", 'secret "hub-token" not found')
    ),
    (C.RESOURCES_READY, Reason.INIT_CRASHED): lambda world: with_init(
        world, ended_badly("resources", "Traceback\nKeyError: 'x'")
    ),
    (C.RESOURCES_READY, Reason.FETCHING): lambda world: with_init(world, running("resources")),
    (C.RESOURCES_READY, Reason.PREPARING): lambda world: with_init(
        world,
        ended_well("resources", verified()),
        running("prepare"),
        labelSets=[{"name": "a"}],
    ),
    (C.RESOURCES_READY, Reason.STALLED): nothing_moves,
    (C.RESOURCES_READY, Reason.CACHE_EVICTED): the_cache_outgrew_its_limit,
    (C.RESOURCES_READY, Reason.VOLUME_NOT_BOUND): lambda world: waiting_for_node(
        world,
        '0/1 nodes are available: persistentvolumeclaim "models" not found.',
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    ),
    (C.DEVICE_READY, Reason.WAITING_FOR_DEVICE): the_card_is_taken,
    (C.DEVICE_READY, Reason.NO_NODE_IN_POOL): lambda world: waiting_for_node(
        world,
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        pool="cuda",
    ),
    (C.AVAILABLE, Reason.SCALED_TO_ZERO): lambda world: world.service(replicas=0),
    (C.AVAILABLE, Reason.IMAGE_PULL_FAILED): lambda world: with_init(
        world, waiting("resources", "ImagePullBackOff", "no such image: lumen/x")
    ),
    (C.AVAILABLE, Reason.PODS_FORBIDDEN): a_quota_forbids_the_pods,
    (C.AVAILABLE, Reason.SERVER_CRASHED): lambda world: with_server(
        world, ended_badly("server", "Segmentation fault", code=139)
    ),
    (C.AVAILABLE, Reason.OUT_OF_MEMORY): lambda world: with_server(
        world, ended_badly("server", code=137, reason="OOMKilled")
    ),
    (C.PROGRESSING, Reason.ROLLOUT_STALLED): the_first_revision_never_becomes_ready,
    (C.PROGRESSING, Reason.ROLLED_BACK): a_later_revision_never_becomes_ready,
    (C.AUTOSCALING, Reason.ACTIVE): lambda world: autoscaled(world, "True", "ValidMetricFound"),
    (C.AUTOSCALING, Reason.METRICS_UNAVAILABLE): lambda world: autoscaled(
        world, "False", "FailedGetPodsMetric"
    ),
}
"""By what a scene must lead to, once the key that it returns is reconciled."""


def all_outcomes() -> list[tuple[C, Reason]]:
    every = [(t, r) for t, outcome in OUTCOMES.items() for r in (*outcome.true, *outcome.otherwise)]
    return [*every, (C.READY, Reason.READY)]
