"""What is remembered of a comparison, and that it changes no decision."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_watched import UP, Step, WatchedCluster, lives

from lumen_cluster.kinds import CONFIG_MAPS, DEPLOYMENTS, NETWORK_POLICIES
from lumen_operator.children.desired import Memory, wanted
from lumen_operator.observe.decode import same_but_for_status
from lumen_operator.rollout.model import variants_of
from lumen_operator.rollout.plan import plan_rollout


@given(devices=st.none() | st.integers(0, 2), happens=lives)
@settings(max_examples=60)
def test_whatever_happens_a_decision_is_the_same_with_and_without_a_memory(devices, happens):
    cluster, memory = WatchedCluster(devices=devices), Memory()
    for _ in cluster.lives(happens):
        assert cluster.look(memory) == cluster.look()


@pytest.fixture
def settled():
    """A service whose children are as rendered, and a memory that has seen them."""
    cluster = WatchedCluster(devices=None)
    for _ in cluster.lives([*UP, Step("operator")]):
        pass
    return cluster, Memory()


def compared(cluster, memory):
    """Compare as a decision does."""
    observed = cluster.observe(cluster.key)
    rollout = plan_rollout(observed, variants_of(observed.service, observed.pools["cpu"])[0])
    return memory.compare(observed.children, wanted(observed, [rollout], cluster.context))


def write(cluster, kind, *path, value):
    """Let somebody write into a child, the first one of its kind."""
    where = min(each for each in cluster.objects if each[0] == kind.plural)
    cluster.written.setdefault(where, []).append((path, value))
    for _ in cluster.tell():
        pass


def test_children_at_rest_are_compared_once(settled):
    first = compared(*settled)

    assert first.apply == ()
    assert compared(*settled) is first


def test_what_a_controller_reports_is_no_reason_to_compare_again(settled):
    cluster, memory = settled
    first = compared(cluster, memory)
    write(cluster, DEPLOYMENTS, "status", "replicas", value=7)

    assert compared(cluster, memory) is first


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (DEPLOYMENTS, ("spec", "replicas"), 7),
        (DEPLOYMENTS, ("metadata", "labels", "lumen.dev/family"), "x"),
        (NETWORK_POLICIES, ("spec", "policyTypes", 0), "x"),
        (CONFIG_MAPS, ("data", "server.json"), None),
        (CONFIG_MAPS, ("metadata", "ownerReferences", 0, "uid"), "x"),
    ],
)
def test_a_child_that_somebody_changed_is_found_at_the_next_look(settled, kind, path, value):
    cluster, memory = settled
    compared(cluster, memory)
    write(cluster, kind, *path, value=value)

    assert [each["kind"] for each in compared(cluster, memory).apply] == [kind.kind]


def test_another_spec_is_compared_anew(settled):
    cluster, memory = settled
    compared(cluster, memory)
    cluster.service(server={"maxBatchSize": 16})
    for _ in cluster.tell():
        pass

    assert compared(cluster, memory).apply


def test_nothing_is_kept_while_there_is_something_to_apply(settled):
    cluster, memory = settled
    write(cluster, DEPLOYMENTS, "spec", "replicas", value=7)
    first = compared(cluster, memory)

    assert first.apply
    assert compared(cluster, memory) is not first


@pytest.mark.parametrize(
    "report",
    [
        {"status": {"replicas": 2}},
        {"metadata": {"resourceVersion": "2"}},
        {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}},
    ],
)
def test_what_controllers_report_leaves_an_object_as_it_was(report):
    before = {"metadata": {"resourceVersion": "1"}, "spec": {}, "status": {"replicas": 1}}

    assert same_but_for_status(before, {**before, **report})


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"hostNetwork": 0}},
        {"spec": {}},
        {"data": {}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"ownerReferences": [{"uid": "u"}]}},
        {"metadata": {"managedFields": [{"manager": "argocd"}]}},
        {"metadata": {"uid": "u"}},
        {"spec": {"hostNetwork": 2**70}},
    ],
)
def test_what_anybody_else_writes_makes_another_object_of_it(change):
    before = {"metadata": {"name": "clip"}, "spec": {"hostNetwork": False}}

    assert not same_but_for_status(before, {**before, **change})
    assert not same_but_for_status({**before, **change}, before)
