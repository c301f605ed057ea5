"""Every reason of every condition, reached by the operator on a real API server.

All scenes are services of one namespace, applied at once; each test waits for what its own says.
"""

import json

import pytest
from controlplane.nodes import BEHAVIOUR, CONTAINER, DELAY, TERMINATION_MESSAGE, Behaviour
from operator_lab import VERIFIED, operator_lab
from operator_scenes import all_outcomes
from status_pages import StatusPages

from lumen_manifest.conditions import OUTCOMES, Reason
from lumen_manifest.conditions import ConditionType as C
from lumen_manifest.pod_reports import FINAL

ELSEWHERE = {
    (C.ACCEPTED, Reason.FIELD_CONFLICT),  # test_operator_drift: an event tells it, it soon passes
    (C.AUTOSCALING, Reason.ACTIVE),  # test_operator_autoscaling: needs an API for metrics
    (C.ACCEPTED, Reason.CHILD_REFUSED),  # test_operator_refusals: needs a policy
    (C.AVAILABLE, Reason.DEGRADED),  # test_operator_refusals: needs pods that differ
    (C.AVAILABLE, Reason.NODE_NOT_READY),  # test_operator_refusals: needs a node that goes down
}
TEMPORARY = {Reason.SOURCE_UNREACHABLE, Reason.DISK_FULL}
"""Last words after which trying again may help."""

FULL_DISK = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi."
EVICTION = 'Usage of EmptyDir volume "cache" exceeds the limit "8Gi". '


def pods(behaviour, message="", **notes):
    """Return the field of a spec by which its pods behave so."""
    annotations = {BEHAVIOUR: behaviour, TERMINATION_MESSAGE: message, **notes}
    return {"podTemplate": {"annotations": annotations}}


def last_words(behaviour, reason):
    words = {"reason": reason, "message": "It went wrong.", "remedy": "Put it right."}
    return pods(behaviour, json.dumps(words))


def name_of(reason):
    return reason.lower()


SPECS = {
    "good": {},
    "older": {"default": True},
    Reason.DEFAULT_CONFLICT: {"default": True},
    Reason.NAME_CONFLICT: {"aliases": ["older"]},
    Reason.INVALID_SPEC: last_words(Behaviour.CRASH_LOOP, Reason.INVALID_SPEC),
    Reason.UNKNOWN_POOL: {"pool": "no-such-pool"},
    Reason.RUNTIME_NOT_ON_POOL: {
        "model": {"name": "MobileCLIP2-S2", "runtime": "rknn", "precision": "fp16"}
    },
    **{
        reason: last_words(behaviour, reason)
        for type_, behaviour in (
            (C.RESOURCES_READY, Behaviour.INIT_FAILS),
            (C.DEVICE_READY, Behaviour.CRASH_LOOP),
        )
        for reason in OUTCOMES[type_].otherwise
        if reason in FINAL | TEMPORARY
    },
    Reason.FETCHING: pods(Behaviour.SLOW, **{DELAY: "1h"}),
    Reason.STALLED: {
        "rollout": {"stallSeconds": 10},
        **pods(Behaviour.SLOW, **{DELAY: "1h"}),
    },
    Reason.PREPARING: {
        "labelSets": [{"name": "ImageNet_1k"}],
        **pods(Behaviour.NEVER_READY, **{CONTAINER: "prepare"}),
    },
    Reason.CACHE_EVICTED: pods(Behaviour.EVICTED, EVICTION),
    Reason.VOLUME_NOT_BOUND: {"cache": {"type": "persistentVolumeClaim", "claimName": "none"}},
    Reason.NO_REPLICA_READY: pods(Behaviour.NEVER_READY),
    Reason.SCALED_TO_ZERO: {"replicas": 0},
    Reason.START_FAILED: pods(Behaviour.CONFIG_ERROR, 'secret "hub-token" not found'),
    Reason.INIT_CRASHED: pods(Behaviour.INIT_FAILS, "Traceback"),
    Reason.UNSCHEDULABLE: {"resources": {"requests": {"cpu": "999"}}},
    Reason.POD_EVICTED: pods(Behaviour.EVICTED, FULL_DISK),
    Reason.IMAGE_PULL_FAILED: pods(Behaviour.IMAGE_PULL),
    Reason.SERVER_CRASHED: pods(Behaviour.CRASH_LOOP, "Segmentation fault"),
    Reason.OUT_OF_MEMORY: pods(Behaviour.OOM),
    Reason.METRICS_UNAVAILABLE: {
        "autoscaling": {"maxReplicas": 3, "metrics": [{"type": "inflight", "target": 8}]}
    },
}
"""What is the same in every lab; `served` adds what needs pools, quotas and a second step."""

FINE = (
    (C.ACCEPTED, Reason.ACCEPTED),
    (C.RESOURCES_READY, Reason.VERIFIED),
    (C.DEVICE_READY, Reason.DEVICE_ATTESTED),
    (C.AVAILABLE, Reason.MINIMUM_REPLICAS_AVAILABLE),
    (C.PROGRESSING, Reason.ROLLOUT_COMPLETE),
    (C.READY, Reason.READY),
)
SCENES = {
    **dict.fromkeys(FINE, "good"),
    (C.RESOURCES_READY, Reason.UNKNOWN): name_of(Reason.NO_NODE_IN_POOL),
    (C.DEVICE_READY, Reason.UNKNOWN): name_of(Reason.FETCHING),
    (C.PROGRESSING, Reason.ROLLING_OUT): name_of(Reason.FETCHING),
    (C.PROGRESSING, Reason.ROLLOUT_STALLED): name_of(Reason.REPOSITORY_NOT_FOUND),
    **{
        (type_, reason): name_of(reason)
        for type_, outcomes in OUTCOMES.items()
        for reason in outcomes.otherwise
        if reason not in {Reason.UNKNOWN, Reason.ROLLOUT_STALLED, Reason.ROLLOUT_COMPLETE}
    },
    (C.PROGRESSING, Reason.ROLLED_BACK): name_of(Reason.ROLLED_BACK),
}


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("conditions")) as found:
        yield found


@pytest.fixture(scope="module")
def served(lab):
    """The lab with every scene applied, and an operator at work."""
    pages = {}
    with StatusPages(lab.folder / "pods.sock", pages.get):
        lab.running()
        forbid_pods(lab)
        cards, nowhere = lab.cards("cards"), lab.cards("nowhere", nodes=0)
        holder = lab.a_service("holder", pool=cards)
        back = lab.a_service(name_of(Reason.ROLLED_BACK))
        lab.apply(lab.a_service("older", default=True), holder, back)
        lab.wait_ready("older", "holder", name_of(Reason.ROLLED_BACK))
        second = {
            Reason.ROLLED_BACK: {
                **last_words(Behaviour.INIT_FAILS, Reason.REPOSITORY_NOT_FOUND),
                "model": {"name": "Misspelt", "runtime": "onnx"},
            },
            Reason.WAITING_FOR_DEVICE: {"pool": cards},
            Reason.NO_NODE_IN_POOL: {"pool": nowhere},
            Reason.PODS_FORBIDDEN: forbidden(lab),
        }
        lab.apply(*(lab.a_service(name_of(n), **spec) for n, spec in (SPECS | second).items()))
        stalled = name_of(Reason.STALLED)
        lab.wait_until(lambda: bool(addresses(lab, stalled)), "its pod has an address")
        page = {"phase": "Fetching", "bytesDone": 7, "bytesTotal": 9, "file": "vision.onnx"}
        pages |= dict.fromkeys(addresses(lab, stalled), page)
        yield lab


def forbid_pods(lab):
    """Let a quota forbid the pods of one priority."""
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    lab.plane.create(classes, {"metadata": {"name": lab.namespace}, "value": 1})
    lab.stack.callback(lab.plane.delete, f"{classes}/{lab.namespace}")
    match = {"scopeName": "PriorityClass", "operator": "In", "values": [lab.namespace]}
    spec = {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [match]}}
    lab.plane.create(lab.path("resourcequotas"), {"metadata": {"name": "none"}, "spec": spec})


def forbidden(lab):
    return {
        "podTemplate": {
            "priorityClassName": lab.namespace,
            "annotations": {TERMINATION_MESSAGE: json.dumps(VERIFIED)},
        }
    }


def addresses(lab, name):
    found = lab.plane.pods(lab.namespace, f"lumen.dev/service={name}")
    return [pod["status"]["podIP"] for pod in found if pod["status"].get("podIP")]


@pytest.mark.parametrize(("type_", "reason"), sorted(SCENES.keys() - ELSEWHERE), ids=str)
def test_a_reason_is_reached_and_said_with_a_remedy(served, type_, reason):
    name = SCENES[type_, reason]
    holds = reason is Reason.READY or reason in OUTCOMES[type_].true
    fails = "Unknown" if reason is Reason.UNKNOWN else "False"
    wanted = ("True" if holds else fails, reason)
    served.wait_until(lambda: served.condition(type_, name) == wanted, f"{name} says {wanted}")

    message = served.message(type_, name)
    assert message
    assert "<" not in message, "a fact that the remedy asks for is missing"


def test_ready_takes_the_reason_of_the_first_that_is_not_so(served):
    for reason in (Reason.CHECKSUM_MISMATCH, Reason.PARITY_FAILED, Reason.OUT_OF_MEMORY):
        name = name_of(reason)
        served.wait_until(
            lambda name=name, reason=reason: served.condition("Ready", name) == ("False", reason),
            f"{name} is not Ready for {reason}",
        )
        assert served.service(name)["status"]["reason"] == reason


def test_every_reason_has_a_scene_here_or_a_test_elsewhere():
    assert set(SCENES) | ELSEWHERE == set(all_outcomes())
