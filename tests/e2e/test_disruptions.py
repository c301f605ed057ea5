"""Twenty calls a second run throughout; none of them may fail, whatever happens meanwhile."""

import json
from pathlib import Path

import pytest

OPERATOR = "app.kubernetes.io/component=operator"
ROUTER = "app.kubernetes.io/component=router"
CLIP = "lumen.dev/service=clip"


def _uids(kube, selector):
    return {pod["metadata"]["uid"] for pod in kube.items("pods", "-l", selector)}


def _is_settled(kube, service, ready):
    status = kube.get("lms", service).get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    generation = kube.get("lms", service)["metadata"]["generation"]
    return (
        status.get("ready") == ready
        and status.get("observedGeneration") == generation
        and conditions["Ready"]["status"] == "True"
        and conditions["Progressing"]["status"] == "False"
        and len(kube.items("pods", "-l", f"lumen.dev/service={service}")) == int(ready[-1])
    )


def _settle(kube, service="clip", ready="1/1"):
    kube.until(lambda: _is_settled(kube, service, ready), f"{service} is {ready}")


def test_no_call_fails_while_the_operator_restarts(kube, traffic):
    before = _uids(kube, OPERATOR)

    with traffic.undisturbed("operator restart"):
        kube.kubectl("rollout", "restart", "deployment/lumen-operator")
        kube.rolled_out("lumen-operator")
        kube.until(lambda: before.isdisjoint(_uids(kube, OPERATOR)), "the old operator is gone")


def test_no_call_fails_while_the_operator_is_killed(kube, traffic):
    before = _uids(kube, OPERATOR)

    with traffic.undisturbed("operator kill"):
        kube.kubectl("delete", "pods", "-l", OPERATOR, "--grace-period=0", "--force")
        kube.until(lambda: before.isdisjoint(_uids(kube, OPERATOR)), "the operator's pod is new")
        kube.rolled_out("lumen-operator")


def test_no_call_fails_while_the_release_is_upgraded(kube, traffic, release):
    before = _uids(kube, ROUTER) | _uids(kube, OPERATOR)

    with traffic.undisturbed("helm upgrade"):
        chart = str(Path(__file__).parents[2] / "charts" / "lumen")
        levels = ("--set=operator.logLevel=debug", "--set=router.logLevel=debug")
        kube.helm("upgrade", release, chart, "--reuse-values", *levels, "--wait", "--timeout=3m")
        kube.until(
            lambda: before.isdisjoint(_uids(kube, ROUTER) | _uids(kube, OPERATOR)),
            "all pods of the release are new ones",
        )


def test_no_call_fails_while_the_router_is_rolled_out(kube, traffic):
    before = _uids(kube, ROUTER)

    with traffic.undisturbed("router rollout"):
        kube.kubectl("rollout", "restart", "deployment/lumen-router")
        kube.rolled_out("lumen-router")
        kube.until(lambda: before.isdisjoint(_uids(kube, ROUTER)), "the old routers are gone")


def test_no_call_fails_while_a_model_is_updated(kube, traffic):
    before = _uids(kube, CLIP)

    with traffic.undisturbed("model update"):
        changed = {"spec": {"server": {"maxBatchSize": 16}}}
        kube.kubectl("patch", "lms", "clip", "--type=merge", f"--patch={json.dumps(changed)}")
        kube.until(lambda: before.isdisjoint(_uids(kube, CLIP)), "clip's pods are new ones")
        _settle(kube)


def test_no_call_fails_while_a_model_is_scaled_up_and_down(kube, traffic):
    with traffic.undisturbed("scale 1-3-1"):
        kube.kubectl("scale", "lms", "clip", "--replicas=3")
        _settle(kube, ready="3/3")
        kube.kubectl("scale", "lms", "clip", "--replicas=1")
        _settle(kube, ready="1/1")


def test_no_call_fails_while_the_only_pod_of_a_model_is_deleted(kube, traffic):
    before = _uids(kube, CLIP)

    with traffic.undisturbed("pod deletion"):
        kube.kubectl("delete", "pods", "-l", CLIP, "--wait=false")
        kube.until(lambda: before.isdisjoint(_uids(kube, CLIP)), "clip's pod is a new one")
        _settle(kube)


@pytest.mark.parametrize("of", ["operator", "router", "clip", "bioclip"])
def test_no_call_fails_while_each_pod_is_evicted(kube, traffic, of):
    component = of in {"operator", "router"}
    selector = f"app.kubernetes.io/component={of}" if component else f"lumen.dev/service={of}"
    pods = kube.items("pods", "-l", selector)
    assert pods

    # While the only species service restarts, smart_classify answers by the scene alone.
    alone = of == "bioclip"
    with traffic.undisturbed(f"eviction of {len(pods)} pods of {of}", fallbacks_allowed=alone):
        for pod in pods:
            _evict(kube, pod["metadata"]["name"])
            kube.until(
                lambda uid=pod["metadata"]["uid"]: uid not in _uids(kube, selector), "it is gone"
            )
            if component:
                kube.rolled_out(f"lumen-{of}")
            else:
                _settle(kube, of)


def _evict(kube, pod):
    metadata = {"name": pod, "namespace": kube.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{pod}/eviction"
    kube.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
