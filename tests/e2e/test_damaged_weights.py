import beside
from cluster_objects import a_service


def test_a_corrupt_weight_file_is_never_ready_and_kubectl_get_says_why(kube, demo):
    damaged = a_service("damaged", model=kube.get("lms", "clip")["spec"]["model"])
    kube.apply(beside.on_cluster(damaged, f"{beside.WEB}/demo-clip-damaged"))

    kube.until(
        lambda: "ChecksumMismatch" in kube.kubectl("get", "lms", "damaged", "--no-headers"),
        "kubectl get lms names the reason",
    )
    print(kube.kubectl("get", "lms"))
    status = kube.get("lms", "damaged")["status"]
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "False"
    assert "onnx/vision.fp16.onnx" in ready["message"]
    pods = kube.items("pods", "-l", "lumen.dev/service=damaged")
    assert all(
        not container["ready"] for pod in pods for container in pod["status"]["containerStatuses"]
    )
    kube.kubectl("delete", "lms", "damaged", "--wait")
