"""A service's life under the operator, on a real API server: applied, Ready, quiet, deleted."""

import json
from pathlib import Path

import pytest
import yaml
from operator_lab import operator_lab, path_of

from lumen_operator.observe.kinds import CHILD_KINDS

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("services")) as found:
        yield found
        assert found.proxy.forbidden == [], "the chart's rights are not enough"


@pytest.fixture(scope="module")
def operator(lab):
    return lab.running(LUMEN_RESYNC_S="1")


def the_examples(pool):
    for name in ("clip-service.yaml", "bioclip-service.yaml"):
        document = yaml.safe_load((EXAMPLES / name).read_text())
        document["spec"]["pool"] = pool
        yield document


def test_the_examples_get_their_children_and_are_ready(lab, operator):
    lab.apply(*the_examples(lab.pool))
    lab.wait_ready("clip", "bioclip")
    kinds = sorted(each.split("/")[0] for each in lab.children("clip"))

    assert kinds == [
        "configmaps",
        "controllerrevisions",
        "deployments",
        "networkpolicies",
        "poddisruptionbudgets",
        "services",
    ]
    status = lab.service("clip")["status"]
    assert (status["ready"], status.get("reason", "")) == ("1/1", "")


RICH = {
    "model": {
        "name": "MobileCLIP2-S2",
        "runtime": "onnx",
        "source": {"uri": "s3://bucket/prefix", "secretRef": {"name": "keys"}},
    },
    "labelSets": [{"name": "ImageNet_1k"}],
    "scenes": {"preset": "oct2025"},
    "autoscaling": {
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [
            {"type": "inflight", "target": 8},
            {"type": "queueWait", "target": 1500},
            {"type": "cpu", "target": 80},
        ],
    },
    "cache": {"type": "persistentVolumeClaim", "claimName": "models"},
    "resources": {
        "limits": {"cpu": "2000m", "memory": "4096Mi"},
        "requests": {"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "1024Ki"},
    },
    "server": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}]},
    "podTemplate": {
        "labels": {"team": "photos"},
        "annotations": {"note": ""},
        "priorityClassName": "system-node-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"team": "photos"}},
            }
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}
                    ]
                }
            }
        },
    },
}
"""Fields that the API server stores in other words than they are applied in."""


def test_nobody_who_edits_a_child_is_warned_about_what_we_rendered(lab, operator):
    secret = {"source": {"secretRef": {"name": "hub-token"}}}
    model = {"name": "MobileCLIP2-S2", "runtime": "onnx", **secret}
    lab.serve("calm", labelSets=[{"name": "ImageNet_1k"}], model=model)
    lab.wait_ready("calm")
    warned = {}
    for name, child in lab.children("calm").items():
        plural, _, own = name.partition("/")
        path = lab.path(plural, own)
        answer = lab.plane.http.put(path, params={"dryRun": "All"}, json=child).raise_for_status()
        warned[name] = answer.headers.get_list("Warning")
    lab.plane.delete(lab.path("lumenmodelservices", "calm"))

    assert len(warned) >= 6
    assert {name: said for name, said in warned.items() if said} == {}


def test_nothing_is_written_while_nothing_changes(lab, operator):
    lab.serve("quiet", replicas=2)
    lab.serve("rich", **RICH)
    lab.wait_ready("quiet")
    lab.wait_until(lambda: len(lab.children("rich")) == len(CHILD_KINDS), "all children are there")
    lab.wait_quiet(operator)
    written, errors = len(lab.proxy.writes), operator.total("errors")
    for _ in range(3):
        lab.wait_looked_at(operator)

    assert lab.written_since(written) == []
    assert operator.total("errors") == errors
    assert operator.total("writes_in_vain") == 0
    lab.plane.delete(lab.path("lumenmodelservices", "rich"))


def test_a_field_that_is_no_longer_set_is_taken_back(lab, operator):
    def labels():
        template = lab.children("slimmer")["deployments/slimmer-stable"]["spec"]["template"]
        return template["metadata"]["labels"]

    pods = lab.a_service()["spec"]["podTemplate"]
    lab.serve("slimmer", podTemplate={**pods, "labels": {"team": "photos"}})
    lab.wait_ready("slimmer")
    assert labels()["team"] == "photos"

    lab.serve("slimmer")
    lab.wait_until(lambda: "team" not in labels(), "the label is taken back")
    lab.wait_ready("slimmer")


def test_a_status_that_somebody_else_writes_to_is_ours_again_and_then_left_alone(lab, operator):
    lab.serve("written")
    lab.wait_ready("written")
    lab.wait_quiet(operator)
    before = lab.service("written")["status"]
    theirs = {"ready": "9/9", "files": {"bytes": 7}, "rejectedRevision": "x"}
    lab.plane.patch(f"{lab.path('lumenmodelservices', 'written')}/status", {"status": theirs})

    lab.wait_until(lambda: lab.service("written")["status"] == before, "it is ours again")
    lab.wait_quiet(operator)


def test_a_bad_service_is_told_so_and_does_not_hold_its_neighbours(lab, operator):
    lab.serve("bad", pool="no-such-pool")
    lab.serve("good")
    lab.wait_ready("good")
    lab.wait_until(lambda: lab.condition("Accepted", "bad") == ("False", "UnknownPool"), "told")

    assert lab.children("bad") == {}


def test_a_spec_that_turned_bad_leaves_its_children_as_they_are_until_it_is_good(lab, operator):
    lab.serve("turns")
    lab.wait_ready("turns")
    before = lab.children("turns")["deployments/turns-stable"]["metadata"]["generation"]
    lab.serve("turns", pool="no-such-pool")
    lab.wait_until(lambda: lab.condition("Accepted", "turns") == ("False", "UnknownPool"), "told")
    lab.wait_quiet(operator)
    assert lab.children("turns")["deployments/turns-stable"]["metadata"]["generation"] == before
    assert lab.condition("Ready", "turns")[0] == "False"

    lab.serve("turns")
    lab.wait_ready("turns")


def test_each_transition_is_one_event_of_the_service(lab, operator):
    lab.serve("told")
    lab.wait_ready("told")
    found = lab.plane.get(lab.path("events"))["items"]
    reasons = [each["reason"] for each in found if each["involvedObject"]["name"] == "told"]

    assert reasons.count("Ready") == 1
    assert reasons.count("Accepted") == 1


def test_deleting_a_service_leaves_nothing(lab, operator):
    lab.serve("gone")
    lab.wait_ready("gone")
    lab.plane.delete(lab.path("lumenmodelservices", "gone"))
    lab.wait_until(lambda: not lab.children("gone"), "its children are gone")
    selector = "lumen.dev/service=gone"
    lab.wait_until(lambda: not lab.plane.pods(lab.namespace, selector), "its pods are gone")
    written = len(lab.proxy.writes)
    lab.wait_looked_at(operator)

    assert [each for each in lab.written_since(written) if "gone" in each] == []


def test_a_restarted_operator_writes_nothing_about_what_is_as_it_should_be(lab, operator):
    lab.serve("stays")
    lab.wait_ready("stays")
    lab.wait_quiet(operator)
    operator.stop()
    written = len(lab.proxy.writes)
    operator.start()
    operator.wait_until_leading()
    lab.wait_looked_at(operator)

    assert lab.written_since(written) == []


@pytest.fixture
def own_lab(control_plane, tmp_path):
    with operator_lab(control_plane, tmp_path) as found:
        yield found


def test_missing_default_pools_are_made_and_one_that_is_there_is_left_alone(own_lab):
    lab = own_lab
    mine, missing = f"{lab.namespace}-mine", f"{lab.namespace}-missing"
    lab.make_pool(mine, nodeSelector={"mine": "yes"})
    path = path_of("lumennodepools", name=missing)
    lab.stack.callback(lab.plane.delete, path)
    wanted = [
        {"name": mine, "spec": {"accelerator": "cuda"}},
        {"name": missing, "spec": {"accelerator": "cpu", "nodeSelector": {"disk": "ssd"}}},
    ]
    lab.running(LUMEN_DEFAULT_POOLS=json.dumps(wanted))
    lab.wait_until(lambda: lab.plane.get(path) is not None, "it is made")
    made = lab.plane.get(path)
    assert made["spec"]["nodeSelector"] == {"disk": "ssd"}
    there = lab.plane.get(path_of("lumennodepools", name=mine))
    assert there["spec"]["nodeSelector"] == {"mine": "yes"}

    lab.plane.delete(path)
    uid = made["metadata"]["uid"]
    lab.wait_until(
        lambda: (lab.plane.get(path) or made)["metadata"]["uid"] != uid, "it is made anew"
    )
