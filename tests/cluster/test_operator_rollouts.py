"""Rollouts under the operator, in the hands of Kubernetes' own controllers and scheduler."""

import pytest
from controlplane.nodes import BEHAVIOUR, Behaviour
from operator_lab import VERIFIED, operator_lab

NEXT = {"server": {"maxBatchSize": 8}}


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("rollouts")) as found:
        found.running(LUMEN_RESYNC_S="1")
        yield found


def status(lab, name):
    return lab.service(name).get("status", {})


def revisions(lab, name):
    pods = lab.plane.pods(lab.namespace, f"lumen.dev/service={name}")
    return {pod["metadata"]["labels"]["lumen.dev/revision"] for pod in pods}


def wait_complete(lab, name):
    complete = ("False", "RolloutComplete")
    lab.wait_until(lambda: lab.condition("Progressing", name) == complete, f"{name} is complete")


def test_all_pods_come_once_the_first_has_pinned_its_files(lab):
    lab.serve("three", replicas=3)
    lab.wait_until(lambda: status(lab, "three").get("ready") == "3/3", "three pods serve")
    lab.wait_ready("three")
    wait_complete(lab, "three")

    said = status(lab, "three")
    assert said["files"]["revision"] == VERIFIED["revision"]
    assert said["embeddingSpace"] == VERIFIED["embeddingSpace"]


def test_on_the_only_device_the_old_pod_goes_before_the_new_one_comes(lab):
    pool = lab.cards("one")
    lab.serve("only", pool=pool)
    lab.wait_ready("only")
    before = status(lab, "only")["stableRevision"]
    lab.serve("only", pool=pool, **NEXT)
    lab.wait_until(lambda: status(lab, "only")["stableRevision"] != before, "the new is stable")

    assert status(lab, "only")["ready"] == "1/1"
    assert lab.condition("Ready", "only") == ("True", "Ready")


def test_where_there_are_fewer_devices_than_pods_a_rollout_still_ends(lab):
    pool = lab.cards("two", nodes=2)
    lab.serve("more", pool=pool, replicas=3)
    lab.wait_until(lambda: status(lab, "more").get("ready") == "2/3", "two of three serve")
    before = status(lab, "more")["stableRevision"]
    lab.serve("more", pool=pool, replicas=3, **NEXT)

    def replaced():
        said = status(lab, "more")
        turned = said["stableRevision"] != before and revisions(lab, "more") != {before}
        return turned and len(revisions(lab, "more")) == 1 and said["ready"] == "2/3"

    lab.wait_until(replaced, "both devices run the new revision")
    lab.wait_quiet(lab.operators[0])


def test_a_revision_that_crashes_is_rolled_back_until_only_the_stable_one_runs(lab):
    rollout = {"progressDeadlineSeconds": 30}
    lab.serve("broken", rollout=rollout)
    lab.wait_ready("broken")
    stable = status(lab, "broken")["stableRevision"]
    pods = lab.a_service()["spec"]["podTemplate"]
    crashing = {"annotations": {**pods["annotations"], BEHAVIOUR: Behaviour.CRASH_LOOP}}
    lab.serve("broken", rollout=rollout, podTemplate=crashing)
    lab.wait_until(
        lambda: status(lab, "broken").get("rejectedRevision", "") != "", "it is rejected"
    )

    assert status(lab, "broken")["stableRevision"] == stable
    assert lab.condition("Progressing", "broken")[1] == "RolledBack"
    assert lab.condition("Available", "broken")[0] == "True"
    lab.wait_until(lambda: revisions(lab, "broken") == {stable}, "only the stable one runs")
    lab.wait_quiet(lab.operators[0])
