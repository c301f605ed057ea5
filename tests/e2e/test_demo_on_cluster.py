import os

import beside
import pytest
from kube import CommandFailed


def test_the_pictures_of_the_demo_are_answered_through_the_routers_service(
    kube, demo, fixtures_image
):
    command = ["python3", "/in-cluster/ask.py", f"grpc://{beside.ROUTER}"]
    kube.apply(beside.one_command("ask", fixtures_image, command))

    kube.until(
        lambda: kube.get("pod", "ask")["status"]["phase"] in {"Succeeded", "Failed"},
        "the pictures are answered",
    )
    said = kube.kubectl("logs", "pod/ask")
    print(said)
    assert kube.get("pod", "ask")["status"]["phase"] == "Succeeded", said


def test_helm_test_passes(kube, release, demo):
    said = kube.helm("test", release, "--timeout=2m")

    assert "Phase:          Succeeded" in said


def test_a_ready_service_says_so_in_one_line(kube, demo):
    line = kube.kubectl("get", "lms", "clip", "--no-headers")
    print(line)

    assert {"clip", "demo-clip", "onnx", "cpu", "True", "1/1"} <= set(line.split())


def test_the_namespace_admits_no_pod_with_a_privilege(kube):
    asked = ("run", "privileged", "--image=none", "--privileged", "--dry-run=server")

    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        kube.kubectl(*asked)


def test_every_pod_runs_as_nobody_and_cannot_write_its_root(kube, demo):
    pods = kube.items("pods", "-l", "app.kubernetes.io/part-of=lumen") or kube.items("pods")

    assert pods
    for pod in pods:
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
            security = container["securityContext"]
            name = f"{pod['metadata']['name']}/{container['name']}"
            assert security["readOnlyRootFilesystem"], name
            assert security["capabilities"]["drop"] == ["ALL"], name
        assert pod["spec"]["securityContext"]["runAsNonRoot"], pod["metadata"]["name"]


def test_the_images_are_those_of_this_checkout(kube, demo):
    prefix = os.environ["LUMEN_E2E_PREFIX"]
    images = {
        container["image"] for pod in kube.items("pods") for container in pod["spec"]["containers"]
    }

    assert {f"{prefix}/{name}:{os.environ['LUMEN_E2E_TAG']}" for name in (
        "operator", "router", "server-onnx-cpu")} <= images  # fmt: skip
