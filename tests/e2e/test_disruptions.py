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


RESTARTS = {
    "operator restart": (OPERATOR, ("rollout", "restart", "deployment/lumen-operator")),
    "operator kill": (OPERATOR, ("delete", "pods", "-l", OPERATOR, "--grace-period=0", "--force")),
    "router rollout": (ROUTER, ("rollout", "restart", "deployment/lumen-router")),
    "pod deletion": (CLIP, ("delete", "pods", "-l", CLIP, "--wait=false")),
}


@pytest.mark.parametrize("what", RESTARTS)
def test_no_call_fails_while_pods_are_replaced(kube, traffic, what):
    selector, command = RESTARTS[what]
    before = _uids(kube, selector)

    with traffic.undisturbed(what):
        kube.kubectl(*command)
        kube.until(lambda: before.isdisjoint(_uids(kube, selector)), "all pods are new ones")
        if selector == CLIP:
            _settle(kube)
        else:
            kube.rolled_out("lumen-operator" if selector == OPERATOR else "lumen-router")


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
