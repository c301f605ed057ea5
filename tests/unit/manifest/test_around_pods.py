"""What stands around the pods: who reaches them, and what scales and protects them."""

import pytest
from rendered_pods import deployment_of

from lumen_manifest.render import RenderContext


def test_the_headless_service_selects_the_deployments_pods(rendered):
    children = rendered()
    (service,) = children.services
    template = deployment_of(children)["spec"]["template"]

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment_of(children)["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {
        "grpc": 50051,
        "metrics": 9090,
    }


def test_the_autoscaler_targets_the_service_and_not_the_deployment(rendered):
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 8,
        "metrics": [
            {"type": "inflight", "target": 8},
            {"type": "queueWait", "target": 250},
            {"type": "cpu", "target": 80},
        ],
    }
    spec = rendered(
        autoscaling=scaling, resources={"requests": {"cpu": "2"}}
    ).horizontal_pod_autoscaler["spec"]

    assert spec["scaleTargetRef"]["kind"] == "LumenModelService"
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    inflight, queue_wait, cpu = spec["metrics"]
    assert inflight["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}
    assert queue_wait["pods"]["metric"]["name"] == "lumen_queue_wait_seconds"
    assert queue_wait["pods"]["target"]["averageValue"] == "250m"
    assert cpu["containerResource"]["container"] == "server"


def test_whole_seconds_of_queue_wait_are_written_as_the_api_server_keeps_them(rendered):
    scaling = {"maxReplicas": 2, "metrics": [{"type": "queueWait", "target": 2000}]}

    (metric,) = rendered(autoscaling=scaling).horizontal_pod_autoscaler["spec"]["metrics"]

    assert metric["pods"]["target"]["averageValue"] == "2"


def test_nodes_are_drained_one_pod_at_a_time(rendered):
    assert rendered().pod_disruption_budget["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {"lumen.dev/service": "clip"}},
    }


@pytest.mark.parametrize(
    ("uri", "source_env", "ports"),
    [
        (None, {}, [53, 53, 443]),
        ("https://models.example:8443/clip", {}, [53, 53, 8443]),
        ("http://models.example/clip", {}, [53, 53, 80]),
        ("s3://bucket/clip", {"AWS_ENDPOINT_URL": "http://minio:9000"}, [53, 53, 443, 9000]),
        (None, {"HTTPS_PROXY": "http://proxy:3128"}, [53, 53, 443, 3128]),
        (None, {"HF_ENDPOINT": "http://mirror:8080"}, [53, 53, 443, 8080]),
        (None, {"MODELSCOPE_DOMAIN": "mirror.example:8443"}, [53, 53, 443, 8443]),
        ("pvc://models/clip", {"HTTPS_PROXY": "http://proxy:3128"}, []),
        ("file:///models/clip", {}, []),
    ],
)
def test_pods_may_reach_their_source_and_nothing_else(rendered, uri, source_env, ports):
    policy = rendered(
        model={"source": {"uri": uri} if uri else {}}, context=RenderContext(source_env=source_env)
    ).network_policy

    found = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]

    assert found == ports
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_pods_of_a_model_on_a_volume_may_reach_where_their_label_sets_come_from(rendered):
    sets = [{"name": "TreeOfLife", "source": {"uri": "hf://datasets/me/tree"}}]

    policy = rendered(model={"source": {"uri": "pvc://models/clip"}}, labelSets=sets).network_policy

    found = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert found == [53, 53, 443]


def test_pods_may_reach_where_their_lists_come_from(rendered):
    sets = [{"name": "a", "excludeFrom": {"uri": "https://lists.example:8443/birds.txt"}}]

    policy = rendered(model={"source": {"uri": "pvc://models/clip"}}, labelSets=sets).network_policy

    found = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert found == [53, 53, 8443]


def test_fetching_reaches_no_metadata_of_a_cloud_and_names_are_asked_for_on_the_link_too(rendered):
    names, fetching = rendered().network_policy["spec"]["egress"]

    assert "to" not in names
    four, six, pods = fetching["to"]
    assert four["ipBlock"]["cidr"] == "0.0.0.0/0"
    assert {"169.254.0.0/16", "100.100.100.200/32"} <= set(four["ipBlock"]["except"])
    assert six["ipBlock"]["cidr"] == "::/0"
    assert {"fe80::/10", "fd00:ec2::/32"} <= set(six["ipBlock"]["except"])
    assert pods == {"namespaceSelector": {}}


def test_metrics_are_for_monitoring_and_calls_for_callers(rendered):
    calls, metrics = rendered().network_policy["spec"]["ingress"]

    assert [port["port"] for port in calls["ports"]] == [50051, 9090]
    assert [port["port"] for port in metrics["ports"]] == [9090]
    assert all(each for each in (*calls["from"], *metrics["from"]))
