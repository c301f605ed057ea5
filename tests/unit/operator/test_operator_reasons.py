"""Every reason of every condition, reached from what a cluster would show."""

from collections.abc import Callable

import pytest
from operator_world import (
    NAMESPACE,
    SPACE,
    World,
    ended_badly,
    ended_well,
    failure,
    running,
    stamp,
    unschedulable,
    verified,
    waiting,
)

from lumen_manifest.conditions import OUTCOMES, Reason
from lumen_manifest.conditions import ConditionType as C
from lumen_operator.kinds import DEPLOYMENTS, HPAS, PODS, Key

Scene = Callable[[World], Key]
SCENES: dict[tuple[C, Reason], Scene] = {}


@pytest.fixture
def world() -> World:
    made = World()
    made.pool()
    made.gpu_pool()
    made.node("n1")
    return made


def scene(type_: C, reason: Reason) -> Callable[[Scene], Scene]:
    """File a scene under what it must lead to; the key it returns has been reconciled."""

    def file(build: Scene) -> Scene:
        assert (type_, reason) not in SCENES
        SCENES[type_, reason] = build
        return build

    return file


def with_pod(world: World, **spec) -> Key:
    """A service whose first pod exists."""
    key = world.service(**spec)
    world.settle(key)
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
    key = world.service()
    world.settle(key)
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
    key = world.service()
    world.serve(key)
    return key


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


def _last_words(reason: Reason) -> Scene:
    return lambda world: with_init(world, ended_badly("resources", failure(reason)))


for _reason in (
    Reason.REPOSITORY_NOT_FOUND,
    Reason.UNAUTHORIZED,
    Reason.SOURCE_UNREACHABLE,
    Reason.CHECKSUM_MISMATCH,
    Reason.FILE_MISSING,
    Reason.FILES_INVALID,
    Reason.MODEL_INFO_INVALID,
    Reason.RUNTIME_UNAVAILABLE,
    Reason.LABEL_SET_INVALID,
    Reason.TOKENIZER_INVALID,
    Reason.PERMISSION_DENIED,
    Reason.DISK_FULL,
):
    scene(C.RESOURCES_READY, _reason)(_last_words(_reason))


# DeviceReady


@scene(C.DEVICE_READY, Reason.WAITING_FOR_DEVICE)
def the_card_is_taken(world):
    world.node("g1", devices=1)
    other = world.service("bioclip", family="bioclip", pool="cuda")
    world.serve(other)
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


def _server_words(reason: Reason) -> Scene:
    return lambda world: with_server(world, ended_badly("server", failure(reason)), pool="cuda")


for _reason in (
    Reason.DEVICE_MISMATCH,
    Reason.DRIVER_MISMATCH,
    Reason.DEVICE_TREE_MASKED,
    Reason.PARITY_FAILED,
):
    scene(C.DEVICE_READY, _reason)(_server_words(_reason))


# Available


@scene(C.AVAILABLE, Reason.SCALED_TO_ZERO)
def scaled_to_zero(world):
    return world.service(replicas=0)


@scene(C.AVAILABLE, Reason.IMAGE_PULL_FAILED)
def the_image_is_not_there(world):
    return with_init(world, waiting("resources", "ImagePullBackOff", "no such image: lumen/x"))


@scene(C.AVAILABLE, Reason.PODS_FORBIDDEN)
def a_quota_forbids_the_pods(world):
    key = world.service()
    world.settle(key)
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
    key = world.service()
    world.serve(key)
    world.service(resources={"limits": {"memory": "1Mi"}})
    world.settle(key)
    world.pod(key, "p2")
    world.set_pod("p2", containerStatuses=[ended_badly("server", code=137, reason="OOMKilled")])
    world.later(901)
    return key


# Autoscaling


def autoscaled(world: World, status: str, reason: str) -> Key:
    key = world.service(autoscaling={"maxReplicas": 3})
    world.serve(key)
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


def _all_outcomes() -> list[tuple[C, Reason]]:
    every = [(t, r) for t, outcome in OUTCOMES.items() for r in (*outcome.true, *outcome.otherwise)]
    return [*every, (C.READY, Reason.READY)]


@pytest.mark.parametrize(("type_", "reason"), _all_outcomes(), ids=str)
def test_every_reason_is_reached_and_said_with_a_remedy(world, type_, reason):
    key = SCENES[type_, reason](world)
    world.reconcile(key)

    found = world.condition(key, type_)

    assert found["reason"] == reason
    if reason is Reason.READY or reason in OUTCOMES[type_].true:
        assert found["status"] == "True"
    else:
        assert found["status"] == ("Unknown" if reason is Reason.UNKNOWN else "False")
        assert "<" not in found["message"], "a fact that the remedy asks for is missing"
    assert found["message"].endswith((".", "?")) or "kubectl" in found["message"]


@pytest.mark.parametrize(("type_", "reason"), _all_outcomes(), ids=str)
def test_every_scene_comes_to_rest(world, type_, reason):
    key = SCENES[type_, reason](world)

    world.settle(key)


def test_ready_takes_the_reason_and_message_of_what_is_not_so(world):
    key = SCENES[C.RESOURCES_READY, Reason.CHECKSUM_MISMATCH](world)
    world.settle(key)

    ready = world.condition(key, C.READY)
    cause = world.condition(key, C.RESOURCES_READY)

    assert (ready["status"], ready["reason"]) == ("False", "ChecksumMismatch")
    assert ready["message"] == cause["message"]
    assert world.status(key)["reason"] == "ChecksumMismatch"


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (C.DEVICE_READY, Reason.WAITING_FOR_DEVICE),
        (C.DEVICE_READY, Reason.NO_NODE_IN_POOL),
        (C.AVAILABLE, Reason.IMAGE_PULL_FAILED),
        (C.AVAILABLE, Reason.PODS_FORBIDDEN),
        (C.AVAILABLE, Reason.SCALED_TO_ZERO),
        (C.AVAILABLE, Reason.NO_REPLICA_READY),
    ],
)
def test_ready_names_the_cause_and_not_what_is_merely_unknown(world, type_, reason):
    key = SCENES[type_, reason](world)
    world.settle(key)

    assert world.status(key)["reason"] == reason


def test_a_server_that_knows_no_better_word_has_crashed(world):
    words = failure("Unknown", "The port is taken.", remedy="Free it.")
    key = with_server(world, ended_badly("server", words))
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)
    assert (found["reason"], found["message"]) == ("ServerCrashed", "The port is taken. Free it.")


def test_words_of_ours_that_belong_to_accepted_are_told_there(world):
    words = failure("InvalidSpec", "LUMEN_GRACE_S is no number.", remedy="Correct it.")
    key = with_server(world, ended_badly("server", words))
    world.settle(key)

    assert world.said(key, C.ACCEPTED) == ("False", "InvalidSpec")
    assert world.status(key)["reason"] == "InvalidSpec"


@pytest.mark.parametrize("word", ["Ready", "Verified", "RolledBack", "MetricsUnavailable"])
def test_words_that_are_no_failure_of_a_pod_are_not_taken_for_one(world, word):
    key = with_server(world, ended_badly("server", failure(word)))
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_an_init_container_without_last_words_is_quoted_with_its_log(world):
    key = with_init(world, ended_badly("resources", "Traceback\nKeyError: 'x'"))
    world.settle(key)

    found = world.condition(key, C.RESOURCES_READY)
    assert (found["status"], found["reason"]) == ("False", "Unknown")
    assert "Its last line: KeyError: 'x'" in found["message"]
    assert "kubectl logs -n photos p1 -c resources --previous" in found["message"]


def test_holders_of_the_devices_are_named_with_the_way_to_share(world):
    key = SCENES[C.DEVICE_READY, Reason.WAITING_FOR_DEVICE](world)
    world.settle(key)

    message = world.condition(key, C.DEVICE_READY)["message"]
    assert "held by photos/bioclip (1)" in message
    assert "timeSlicing" in message


def test_a_device_plugin_that_offers_nothing_is_told_apart_from_full_cards(world):
    world.node("g1", labels={"gpu": "yes"})
    key = waiting_for_node(
        world, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", pool="cuda"
    )
    world.settle(key)

    assert world.said(key, C.DEVICE_READY) == ("False", "WaitingForDevice")
    assert "Install the device plugin" in world.condition(key, C.DEVICE_READY)["message"]


def test_a_full_node_is_told_in_the_scheduler_s_words(world):
    key = waiting_for_node(world, "0/1 nodes are available: 1 Insufficient memory.")
    world.settle(key)

    found = world.condition(key, C.AVAILABLE)
    assert found["reason"] == "NoReplicaReady"
    assert "1 Insufficient memory." in found["message"]


def test_a_claim_that_is_pending_is_named(world):
    world.claim("models", "Pending")
    key = waiting_for_node(
        world,
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    )
    world.settle(key)

    found = world.condition(key, C.RESOURCES_READY)
    assert found["reason"] == "VolumeNotBound"
    assert "claim models, which is Pending" in found["message"]


def test_a_bound_claim_is_not_blamed_for_a_full_node(world):
    world.claim("models", "Bound")
    key = waiting_for_node(
        world,
        "0/1 nodes are available: 1 Insufficient cpu.",
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
    )
    world.settle(key)

    assert world.status(key)["reason"] == "NoReplicaReady"


def test_a_runtime_that_refuses_an_old_driver_is_a_driver_mismatch(world):
    message = (
        "failed to create containerd task: nvidia-container-cli: requirement error: "
        "unsatisfied condition: cuda>=12.4, please update your driver to a newer version"
    )
    key = with_server(world, waiting("server", "RunContainerError", message), pool="cuda")
    world.settle(key)

    found = world.condition(key, C.DEVICE_READY)
    assert found["reason"] == "DriverMismatch"
    assert "Update the driver on n1" in found["message"]


def test_a_container_that_cannot_start_is_no_driver_s_fault_on_a_cpu(world):
    message = "exec: python3: not found (driver overlay)"
    key = with_server(world, waiting("server", "RunContainerError", message))
    world.settle(key)

    assert world.status(key)["reason"] == "NoReplicaReady"
    assert "exec: python3: not found" in world.condition(key, C.AVAILABLE)["message"]


def test_a_failure_stands_while_the_next_attempt_has_not_got_further(world):
    again = {**ended_badly("resources", failure("SourceUnreachable")), **running("resources")}
    key = with_init(world, again)
    world.settle(key)
    assert world.status(key)["reason"] == "SourceUnreachable"

    world.report("p1", "resources", phase="Fetching", bytesDone=5, rateBytesPerS=1000)
    world.settle(key)
    assert world.status(key)["reason"] == "Fetching"


def test_a_server_that_ends_well_again_and_again_has_crashed_too(world):
    key = with_server(world, ended_badly("server", "bye", code=0, restarts=4))
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_a_restart_of_the_operator_is_no_progress(world):
    key = with_init(world, running("resources"))
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)
    world.later(100)
    world.reports.clear()
    world.settle(key)
    world.later(21)
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)

    assert world.status(key)["reason"] == "Stalled"


def test_a_crash_stands_while_the_server_loads_again(world):
    again = {**ended_badly("server", "boom"), **running("server")}
    key = with_server(world, again)
    world.settle(key)

    assert world.status(key)["reason"] == "ServerCrashed"


def test_a_pod_without_a_status_page_is_not_accused_of_standing_still(world):
    key = with_init(world, running("resources"))
    world.later(600)
    world.settle(key)

    assert world.said(key, C.RESOURCES_READY) == ("False", "Fetching")


def test_whoever_waits_for_another_pod_s_fetching_does_not_stand_still(world):
    key = with_init(world, running("resources"))
    world.pod(key, "p2")
    world.set_pod("p2", initContainerStatuses=[running("resources")])
    for done in (1, 2, 3):
        world.report("p1", "resources", phase="Waiting", bytesDone=0)
        world.report("p2", "resources", phase="Fetching", bytesDone=done)
        world.reconcile(key)
        world.later(100)

    assert world.said(key, C.RESOURCES_READY) == ("False", "Fetching")


def test_progress_is_shown_and_goes_when_fetching_is_done(world):
    key = with_init(world, running("resources"))
    world.report("p1", "resources", phase="Fetching", bytesDone=30, bytesTotal=90, etaSeconds=4.6)
    world.settle(key)

    assert world.status(key)["files"]["progress"] == {
        "phase": "Fetching",
        "bytesDone": 30,
        "bytesTotal": 90,
        "etaSeconds": 5,
        "progressedAt": stamp(world.now),
    }
    world.ready(key, "p1")
    world.settle(key)
    assert "progress" not in world.status(key)["files"]


def test_an_eviction_for_the_node_s_sake_is_not_the_cache_s(world):
    key = with_pod(world)
    world.set_pod("p1", phase="Failed", reason="Evicted", message="The node was low on memory.")
    world.settle(key)

    assert world.said(key, C.RESOURCES_READY) == ("Unknown", "Unknown")


def test_a_device_that_a_node_lost_is_waited_for(world):
    world.node("g1", devices=1)
    key = with_pod(world, pool="cuda")
    message = "Allocate failed due to no healthy devices present; cannot allocate"
    world.set_pod("p1", phase="Failed", reason="UnexpectedAdmissionError", message=message)
    world.settle(key)

    assert world.said(key, C.DEVICE_READY) == ("False", "WaitingForDevice")
    assert "no healthy devices" in world.condition(key, C.DEVICE_READY)["message"]


def test_a_device_other_than_the_pool_s_is_a_mismatch_even_of_a_ready_pod(world):
    world.node("g1", devices=1)
    key = world.service(pool="cuda")
    world.serve(key)
    world.report("clip-0", "server", phase="serving", runtime={"name": "onnx", "device": "cpu"})
    world.settle(key)

    assert world.said(key, C.DEVICE_READY) == ("False", "DeviceMismatch")
    assert world.status(key)["reason"] == "DeviceMismatch"


def test_what_is_wrong_with_one_pod_does_not_unmake_a_service_that_answers(world):
    key = world.service(replicas=2)
    world.serve(key)
    world.set_pod("clip-1", containerStatuses=[ended_badly("server", "boom")])
    world.settle(key)

    assert world.said(key, C.READY) == ("True", "Ready")
    assert world.status(key)["ready"] == "1/2"


def test_what_runs_is_counted_while_the_spec_cannot_be_carried_out(world):
    key = world.service(replicas=2)
    world.serve(key)
    world.service(pool="tpu")
    decision = world.reconcile(key)

    status = world.status(key)
    assert (decision.apply, decision.delete) == ((), ())
    assert (status["reason"], status["ready"]) == ("UnknownPool", "2/2")
    assert [each["service"] for each in status["routes"]] == ["clip-stable"]
    world.remove(PODS, "clip-0")
    world.settle(key)
    assert world.status(key)["readyReplicas"] == 1


def test_a_broken_spec_leaves_children_and_routes_as_they_are(world):
    key = world.service()
    world.serve(key)
    before = world.status(key)["routes"]
    world.service(scenes={"preset": "oct2025", "prompts": ["a", "b"]})
    decision = world.reconcile(key)

    assert (decision.apply, decision.delete) == ((), ())
    assert world.status(key)["routes"] == before
    assert "give a preset or prompts, not both" in world.condition(key, C.READY)["message"]
    world.settle(key)


def test_pods_kept_out_by_pod_security_point_to_the_namespace_s_level(world):
    key = SCENES[C.AVAILABLE, Reason.PODS_FORBIDDEN](world)
    said = 'violates PodSecurity "restricted:latest": procMount'
    failed = {"type": "ReplicaFailure", "status": "True", "message": said}
    world.replica_set(key, status={"conditions": [failed]})
    world.settle(key)

    message = world.condition(key, C.AVAILABLE)["message"]
    assert message.startswith(said)
    assert "pod-security.kubernetes.io/enforce" in message


def test_what_could_not_be_judged_anew_keeps_the_generation_it_is_about(world):
    key = world.service()
    world.serve(key)
    world.service(scenes={"preset": "oct2025", "prompts": ["a", "b"]})
    world.settle(key)

    about = {c["type"]: c["observedGeneration"] for c in world.status(key)["conditions"]}
    assert about == {
        "Accepted": 2,
        "ResourcesReady": 1,
        "DeviceReady": 1,
        "Available": 2,
        "Progressing": 1,
        "Ready": 2,
    }


def test_the_next_look_is_when_standing_still_becomes_stalled(world):
    key = with_init(world, running("resources"))
    world.report("p1", "resources", phase="Fetching", bytesDone=7)
    world.settle(key)
    world.later(50)

    assert world.decide(key).again_in_s == 70


def test_a_pod_that_only_carries_the_label_is_not_ours(world):
    key = world.service()
    world.serve(key)
    labels = {"lumen.dev/service": "clip"}
    metadata = {"name": "debug", "namespace": NAMESPACE, "labels": labels}
    world.put(PODS, {"metadata": metadata, "status": {"phase": "Running"}})
    world.settle(key)

    assert world.status(key)["replicas"] == 1
    assert world.said(key, C.PROGRESSING) == ("False", "RolloutComplete")


def test_pods_are_asked_until_they_serve_and_once_after(world):
    key = with_init(world, running("resources"))
    world.settle(key)
    assert [each.container for each in world.decide(key).poll] == ["resources"]

    world.ready(key, "p1")
    world.settle(key)
    assert [each.container for each in world.decide(key).poll] == ["server"]

    world.report("p1", "server", phase="serving", runtime={"name": "onnx", "device": "cpu"})
    world.settle(key)
    assert world.decide(key).poll == ()


def test_a_younger_default_is_deployed_all_the_same(world):
    key = SCENES[C.ACCEPTED, Reason.DEFAULT_CONFLICT](world)
    world.serve(key)

    assert world.names(DEPLOYMENTS) == {"clip-stable"}
    assert world.status(key)["reason"] == "DefaultConflict"
    assert "older" in world.condition(key, C.ACCEPTED)["message"]


def test_an_autoscaler_that_has_not_looked_is_not_yet_known(world):
    key = world.service(autoscaling={"maxReplicas": 3})
    world.settle(key)

    assert world.said(key, C.AUTOSCALING) == ("Unknown", "MetricsUnavailable")
    assert world.names(HPAS) == {"clip-lumen"}


def test_the_space_of_verified_files_is_known_before_anything_serves(world):
    key = with_init(world, ended_well("resources", verified()))
    world.settle(key)

    assert world.status(key)["embeddingSpace"] == SPACE
