"""Rollouts under the operator, in the hands of Kubernetes' own controllers and scheduler."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from controlplane.nodes import BEHAVIOUR, Behaviour
from operator_lab import VERIFIED, operator_lab

from lumen_cli.main import cli

NEXT = {"server": {"maxBatchSize": 8}}
PAGE = Path(__file__).parents[2] / "docs" / "rollouts.md"
WAITS = [line for line in PAGE.read_text().splitlines() if line.startswith("kubectl wait ")]


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


def is_through(lab, name, at_most="30s"):
    """Run the waits that the page on rollouts tells a pipeline to make."""
    program, config = lab.plane.binaries.kubectl, lab.plane.admin_kubeconfig
    kubectl = f'kubectl() {{ "{program}" --kubeconfig="{config}" -n "{lab.namespace}" "$@"; }}'
    script = "\n".join(WAITS).replace("clip", name).replace("=30m", f"={at_most}")
    done = subprocess.run(
        ["bash", "-euc", f"{kubectl}\n{script}"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


def told(lab, name, *words):
    """Run `lumen status NAME --wait`; return its exit code and what it says of the service."""
    place = ["-n", lab.namespace, "--kubeconfig", str(lab.plane.admin_kubeconfig)]
    asked = ["status", name, "--wait", "-o", "json", *place, *words]
    done = CliRunner().invoke(cli, asked)
    (row,) = json.loads(done.stdout)
    return done.exit_code, row


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
    assert lab.condition("Available", "more") == ("True", "Degraded")
    assert status(lab, "more")["reason"] == "WaitingForDevice"
    lab.wait_quiet(lab.operators[0])


def test_a_revision_that_crashes_is_rolled_back_until_only_the_stable_one_runs(lab):
    rollout = {"progressDeadlineSeconds": 30}
    lab.serve("broken", rollout=rollout)
    lab.wait_ready("broken")
    assert len(WAITS) == 3
    assert is_through(lab, "broken")
    assert told(lab, "broken", "--timeout", "60s")[0] == 0
    stable = status(lab, "broken")["stableRevision"]
    pods = lab.a_service()["spec"]["podTemplate"]
    crashing = {"annotations": {**pods["annotations"], BEHAVIOUR: Behaviour.CRASH_LOOP}}
    lab.serve("broken", rollout=rollout, podTemplate=crashing)
    code, row = told(lab, "broken", "--timeout", "5m")  # the change may not even be read yet

    assert (code, row["reason"]) == (1, "RolledBack")
    assert row["message"] == lab.message("Progressing", "broken")
    assert status(lab, "broken")["rejectedRevision"] != ""

    assert status(lab, "broken")["stableRevision"] == stable
    assert lab.condition("Progressing", "broken")[1] == "RolledBack"
    assert status(lab, "broken")["reason"] == "RolledBack"
    assert not is_through(lab, "broken", at_most="1s")
    assert lab.condition("Available", "broken")[0] == "True"
    lab.wait_until(lambda: revisions(lab, "broken") == {stable}, "only the stable one runs")
    lab.wait_quiet(lab.operators[0])
