"""The planner replayed to its end in a small cluster: whatever is observed, it reaches the goal.

People change the spec, pods die, devices come and go, and the controllers and the operator act in
any order. On the way nothing is taken that must stay, a reason is given while anything is missing,
and decisions, once carried out, leave nothing to decide.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from operator_cluster import (
    ACTORS,
    CRASHING_BATCH,
    FOREIGN_SPACE,
    GOOD_BATCHES,
    MISSING,
    SAME_SPACE,
    Cluster,
    Step,
    ends,
    has_node,
    serves,
    wants_gpu,
)

from lumen_manifest.conditions import ConditionType as C
from lumen_manifest.names import REVISION_LABEL

MOST_ROUNDS = 60
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Shrinking a failure takes minutes here; its seed tells enough."""

specs = st.one_of(
    st.builds(lambda n: {"replicas": n}, st.integers(0, 4)),
    st.builds(lambda n: {"server": {"maxBatchSize": n}}, st.sampled_from(GOOD_BATCHES)),
    st.just({"server": {"maxBatchSize": CRASHING_BATCH}}),
    st.builds(
        lambda name: {"model": {"name": name}},
        st.sampled_from([SAME_SPACE, SAME_SPACE, FOREIGN_SPACE, MISSING]),
    ),
    st.builds(lambda on: {"rollout": {"allowReindex": on}}, st.booleans()),
    st.builds(lambda pool: {"pool": pool}, st.sampled_from(["cpu", "cuda"])),
)
turns = st.lists(st.sampled_from(ACTORS), max_size=12)


happenings = {
    "respecify": specs,
    "kill": st.integers(0, 3),
    "set_devices": st.integers(0, 4),
    "take_devices": st.integers(0, 2),
    "later": st.integers(1, 100),
}
steps = st.one_of(
    *(how.map(lambda value, what=what: Step(what, (value,))) for what, how in happenings.items())
)
changes = st.lists(st.tuples(steps, turns), max_size=8)
"""Things that happen, and who acts before the next thing does."""


def act(cluster: Cluster, actor: str) -> None:
    if actor != "operator":
        getattr(cluster, actor)()
        return
    before = cluster.status(cluster.key)
    if cluster.reconcile(cluster.key).apply:
        # Pods of an earlier revision may run on: only now are they those of the Deployment.
        cluster.reconcile(cluster.key)
    check_space(cluster, before)
    after = cluster.decide(cluster.key)
    assert after.status is None or changes_in(cluster, after.status) == []
    assert (after.apply, after.delete, after.status, after.events) == ((), (), None, ())
    check_status(cluster)


def changes_in(cluster: Cluster, status: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Show what a second look would say otherwise than the first."""
    before = cluster.status(cluster.key)
    listed = [*zip(before["conditions"], status["conditions"], strict=True)]
    rest = [(before.get(k), v) for k, v in status.items() if k != "conditions"]
    return [(old, new) for old, new in (*rest, *listed) if old != new]


def check_space(cluster: Cluster, before: dict) -> None:
    """The vectors' meaning changes only by leave, on the way back, or before there is any."""
    space, stable = before.get("embeddingSpace"), before.get("stableRevision")
    if space and stable and cluster.status(cluster.key)["embeddingSpace"] != space:
        allowed = cluster.get_spec().get("rollout", {}).get("allowReindex", False)
        assert allowed or runs_now(cluster) == stable


def runs_now(cluster: Cluster) -> str:
    template = cluster.deployment(cluster.key)["spec"]["template"]
    return template["metadata"]["labels"][REVISION_LABEL]


def check_status(cluster: Cluster) -> None:
    """While anything keeps the service from answering, its status says what, and what to do."""
    status = cluster.status(cluster.key)
    ready = cluster.condition(cluster.key, C.READY)
    available, progressing = (cluster.said(cluster.key, t)[1] for t in (C.AVAILABLE, C.PROGRESSING))
    as_asked = available != "Degraded" and progressing not in {"RolledBack", "RolloutStalled"}
    assert (status["reason"] == "") == (ready["status"] == "True" and as_asked)
    assert (ready["status"] == "True") == (cluster.serving() > 0)
    if ready["status"] != "True":
        assert ready["message"].strip()
    assert status["ready"] == f"{cluster.serving()}/{status['ready'].split('/')[1]}"


def check_sizes(cluster: Cluster) -> None:
    """No more pods are asked for than are wanted, and a device has one pod."""
    key = cluster.key
    asked = cluster.deployment(key)["spec"]["replicas"]
    wanted = cluster.get_spec()["replicas"]
    assert asked <= max(wanted, asked_before_last_look(cluster))
    steps = cluster.deployment(key)["spec"]["strategy"]["rollingUpdate"]
    assert steps["maxSurge"] in {0, 1}
    assert steps["maxSurge"] or steps["maxUnavailable"]


def asked_before_last_look(cluster: Cluster) -> int:
    """The operator may not have looked since the spec was scaled down."""
    where = "lumenmodelservices", cluster.key.namespace, cluster.key.name
    generation = cluster.objects[where]["metadata"]["generation"]
    seen = cluster.status(cluster.key).get("observedGeneration", 0)
    return cluster.deployment(cluster.key)["spec"]["replicas"] if seen < generation else 0


def carry_on(cluster: Cluster, step: Step, turns: list[str]) -> None:
    getattr(cluster, step.what)(*step.how)
    for actor in turns:
        act(cluster, actor)
        if cluster.has_deployment():
            check_sizes(cluster)


def come_to_rest(cluster: Cluster) -> None:
    """Let everyone act in turn, and the deadlines pass, until nothing changes any more."""
    for _ in range(MOST_ROUNDS):
        before = cluster.fingerprint()
        for actor in ("operator", *ACTORS):
            act(cluster, actor)
        if cluster.fingerprint() != before:
            cluster.later(1)
            continue
        wait_s = cluster.decide(cluster.key).requeue_after_s
        if wait_s is None:
            return
        cluster.later(wait_s)
    pytest.fail("the cluster does not come to rest")


def check_target(cluster: Cluster) -> None:
    """What was asked for runs, or it is said why something else does."""
    spec, runs = cluster.get_spec(), runs_now(cluster)
    asked, ran = cluster.asked_revision(), cluster.spec_of(runs)
    if runs == asked:
        return
    assert cluster.said(cluster.key, C.PROGRESSING) == ("True", "RolledBack")
    reindex = spec.get("rollout", {}).get("allowReindex", False)
    other_space = ran["model"]["name"] != spec["model"]["name"] and not reindex
    no_room = spec["pool"] == "cuda" and cluster.room() < spec["replicas"]
    assert cluster.fails(cluster.spec_of(asked)) or other_space or no_room


def check_goal(cluster: Cluster) -> None:
    """The right revision runs, on as many pods as were wanted and as there is room for."""
    spec, status, runs = cluster.get_spec(), cluster.status(cluster.key), runs_now(cluster)
    pods = [pod for pod in cluster.pods() if not ends(pod)]
    ran = cluster.spec_of(runs)
    if spec["replicas"] == 0:
        assert pods == []
        assert status["reason"] == "ScaledToZero"
    elif cluster.fails(ran):
        # There was nothing to go back to.
        assert status["stableRevision"] in {"", runs}
        assert cluster.said(cluster.key, C.PROGRESSING)[1] == "RolloutStalled"
    else:
        room = cluster.room() if ran["pool"] == "cuda" else spec["replicas"]
        others = {pod["metadata"]["labels"][REVISION_LABEL] for pod in pods} - {runs}
        # Pods of another pool make no room by going, so they serve on, and it is said.
        stays = room < spec["replicas"] and all(
            cluster.spec_of(other)["pool"] != ran["pool"] for other in others
        )
        assert stays or not others
        if others:
            assert cluster.said(cluster.key, C.PROGRESSING)[1] == "RolloutStalled"
        assert cluster.serving() >= min(spec["replicas"], room)


@given(
    devices=st.integers(0, 4),
    replicas=st.integers(0, 4),
    pool=st.sampled_from(["cpu", "cuda"]),
    happens=changes,
)
@settings(max_examples=15, phases=PHASES)
def test_whatever_happens_the_goal_is_reached_and_a_reason_given_on_the_way(
    devices, replicas, pool, happens
):
    cluster = Cluster(devices=devices)
    cluster.service(replicas=replicas, pool=pool)
    for step, turns_after in happens:
        carry_on(cluster, step, turns_after)

    come_to_rest(cluster)
    check_goal(cluster)
    check_target(cluster)


@given(
    devices=st.integers(1, 4),
    taken=st.integers(0, 2),
    replicas=st.integers(1, 4),
    pool=st.sampled_from(["cpu", "cuda"]),
    order=st.lists(st.permutations(ACTORS), min_size=8, max_size=8),
)
@settings(max_examples=15, phases=PHASES)
def test_a_rollout_takes_no_pod_away_that_must_serve(devices, taken, replicas, pool, order):
    cluster = Cluster(devices=devices)
    cluster.service(replicas=replicas, pool=pool, server={"maxBatchSize": GOOD_BATCHES[0]})
    cluster.take_devices(taken)
    come_to_rest(cluster)
    room = cluster.room() if pool == "cuda" else replicas + 1
    can_serve = min(replicas, room)
    assert cluster.serving() == can_serve

    cluster.service(server={"maxBatchSize": GOOD_BATCHES[1]})
    # With a device to spare nothing may be missing; without one, one pod at a time.
    fewest = can_serve if room > replicas else can_serve - 1
    for turn in order:
        for actor in turn:
            act(cluster, actor)
            assert cluster.serving() >= fewest
            held = [pod for pod in cluster.pods() if has_node(pod) and wants_gpu(pod)]
            assert len(held) <= room
            assert len([pod for pod in cluster.pods() if not ends(pod)]) <= replicas + 1
    come_to_rest(cluster)
    check_goal(cluster)
    assert runs_now(cluster) == cluster.asked_revision()
    assert cluster.serving() == can_serve
    assert all(serves(pod) or not has_node(pod) for pod in cluster.pods())
