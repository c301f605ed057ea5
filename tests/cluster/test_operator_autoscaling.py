"""Services that scale, by hand and by the real autoscaler, and what guards their pods."""

import httpx
import pytest
from controlplane.cluster import unique_name
from metrics_apis import metrics_apis
from operator_lab import operator_lab

POLICY = "/apis/policy/v1"
METRICS = {
    "inflight": ({"type": "inflight", "target": 8}, "lumen_inflight", "16", "8"),
    "queueWait": ({"type": "queueWait", "target": 250}, "lumen_queue_wait_seconds", "0.5", "250m"),
}
WITH_CPU = {"requests": {"cpu": "500m"}}


@pytest.fixture(scope="module")
def lab(private_control_plane, tmp_path_factory):
    with operator_lab(private_control_plane, tmp_path_factory.mktemp("autoscaling")) as found:
        found.running(LUMEN_RESYNC_S="1")
        yield found


@pytest.fixture
def metrics(lab):
    namespace = unique_name("metrics")
    lab.plane.create_namespace(namespace)
    with metrics_apis(lab.plane, namespace) as found:
        yield found


def autoscaled(*metrics, least=1, most=4):
    return {"minReplicas": least, "maxReplicas": most, "metrics": list(metrics)}


def serving(lab, name):
    return lab.service(name).get("status", {}).get("ready")


def autoscaler(lab, name):
    return lab.plane.get(lab.path("horizontalpodautoscalers", f"{name}-lumen"))


def test_without_a_metrics_api_the_fewest_pods_run_and_the_reason_is_said(lab):
    lab.serve("unmeasured", autoscaling=autoscaled(METRICS["inflight"][0], least=2))
    lab.wait_until(lambda: serving(lab, "unmeasured") == "2/2", "the fewest pods serve")
    lab.wait_until(
        lambda: lab.condition("Autoscaling", "unmeasured") == ("False", "MetricsUnavailable"),
        "the autoscaler's trouble is said",
    )

    assert lab.condition("Ready", "unmeasured") == ("True", "Ready")
    assert "prometheus-adapter" in lab.message("Autoscaling", "unmeasured")


@pytest.mark.parametrize("metric", METRICS)
def test_the_autoscaler_scales_the_service_by_what_its_pods_measure(lab, metrics, metric):
    spec, name, load, target = METRICS[metric]
    service = metric.lower()
    metrics.custom[name] = "0"
    lab.serve(service, autoscaling=autoscaled(spec))
    lab.wait_until(
        lambda: lab.condition("Autoscaling", service) == ("True", "Active"), "it is measured"
    )
    lab.wait_ready(service)
    (rendered,) = autoscaler(lab, service)["spec"]["metrics"]
    before = serving(lab, service)
    metrics.custom[name] = load
    lab.wait_until(lambda: serving(lab, service) == "4/4", "twice the load makes all pods")

    assert before == "1/1"
    assert rendered["pods"]["target"] == {"type": "AverageValue", "averageValue": target}
    assert lab.service(service)["spec"]["replicas"] == 4
    assert lab.children(service)[f"deployments/{service}-stable"]["spec"]["replicas"] == 4
    assert autoscaler(lab, service)["spec"]["scaleTargetRef"] == {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "name": service,
    }


def test_the_autoscaler_scales_the_service_by_the_servers_processor_time(lab, metrics):
    spec = {"type": "cpu", "target": 80}
    lab.serve("busy", autoscaling=autoscaled(spec, most=3), resources=WITH_CPU)
    lab.wait_until(
        lambda: lab.condition("Autoscaling", "busy") == ("True", "Active"), "it is measured"
    )
    metrics.cpu = "1"
    lab.wait_until(lambda: serving(lab, "busy") == "3/3", "200 % of 80 % makes all pods")

    status = autoscaler(lab, "busy")["status"]["currentMetrics"][0]["containerResource"]
    assert (status["container"], status["name"]) == ("server", "cpu")


def test_a_service_that_is_no_longer_autoscaled_keeps_its_pods_and_loses_its_autoscaler(
    lab, metrics
):
    metrics.custom["lumen_inflight"] = "16"
    lab.serve("settled", autoscaling=autoscaled(METRICS["inflight"][0], most=3))
    lab.wait_until(lambda: serving(lab, "settled") == "3/3", "it is scaled up")
    path = lab.path("lumenmodelservices", "settled")
    lab.plane.patch(path, {"spec": {"autoscaling": None}})
    lab.wait_until(lambda: autoscaler(lab, "settled") is None, "its autoscaler is gone")
    lab.wait_until(
        lambda: lab.condition("Autoscaling", "settled") == ("", ""), "nothing is said of it"
    )

    assert lab.service("settled")["spec"]["replicas"] == 3
    assert serving(lab, "settled") == "3/3"


def test_a_person_scales_a_service_with_kubectl(lab):
    lab.serve("by-hand")
    lab.wait_ready("by-hand")
    for replicas in (3, 0, 1):
        lab.plane.kubectl("scale", "lms/by-hand", "-n", lab.namespace, f"--replicas={replicas}")
        wanted = f"{replicas}/{replicas}"
        lab.wait_until(lambda wanted=wanted: serving(lab, "by-hand") == wanted, f"{wanted} serve")
        scale = lab.plane.get(lab.path("lumenmodelservices", "by-hand") + "/scale")

        assert scale["spec"].get("replicas", 0) == scale["status"].get("replicas", 0) == replicas
        assert scale["status"]["selector"] == "lumen.dev/service=by-hand"
    assert "1/1" in lab.plane.kubectl("get", "lms/by-hand", "-n", lab.namespace)


@pytest.fixture
def no_more_room(lab):
    """Return what keeps new pods off the nodes, as draining does, until the test has ended."""
    nodes = [each["metadata"]["name"] for each in lab.plane.get("/api/v1/nodes")["items"]]
    yield lambda: [lab.plane.kubectl("cordon", name) for name in nodes]
    for name in nodes:
        lab.plane.kubectl("uncordon", name)


def test_pods_are_evicted_one_at_a_time_by_the_budget(lab, no_more_room):
    lab.serve("guarded", replicas=3)
    lab.wait_until(lambda: serving(lab, "guarded") == "3/3", "three pods serve")
    path = lab.path("poddisruptionbudgets", "guarded-lumen")

    def budget():
        return lab.plane.get(path)["status"]

    lab.wait_until(lambda: budget().get("disruptionsAllowed") == 1, "one may go")
    pods = lab.plane.pods(lab.namespace, "lumen.dev/service=guarded")
    # The evicted pod's successor does not serve when the next one is asked to go.
    no_more_room()
    answers = [evict(lab, pod) for pod in pods]

    assert budget()["expectedPods"] == 3
    assert answers == [httpx.codes.CREATED, *[httpx.codes.TOO_MANY_REQUESTS] * 2]


def evict(lab, pod):
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": lab.namespace},
    }
    path = f"{lab.path('pods', name)}/eviction"
    return lab.plane.http.post(path, json=eviction).status_code


def test_the_network_policy_is_kept_by_the_api_server_as_rendered(lab):
    lab.serve("fenced")
    lab.wait_ready("fenced")
    spec = lab.plane.get(lab.path("networkpolicies", "fenced-lumen"))["spec"]

    assert spec["podSelector"] == {"matchLabels": {"lumen.dev/service": "fenced"}}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = [[each["port"] for each in rule["ports"]] for rule in spec["ingress"]]
    assert ports == [[50051, 9090], [9090]]
    assert [each["port"] for rule in spec["egress"] for each in rule["ports"]] == [53, 53, 443]
