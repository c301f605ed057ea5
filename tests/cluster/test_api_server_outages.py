"""An API server that restarts, is away or hangs, as tests of the operator and router need it."""

import httpx
import pytest


def test_objects_outlive_a_restart_of_the_api_server(private_control_plane):
    private_control_plane.create("/api/v1/namespaces", {"metadata": {"name": "kept"}})
    pid = private_control_plane.pids["kube-apiserver"]

    private_control_plane.restart_api_server()

    assert private_control_plane.pids["kube-apiserver"] != pid
    assert private_control_plane.get("/api/v1/namespaces/kept") is not None


def test_pods_get_ready_after_a_restart_of_the_api_server(private_control_plane):
    private_control_plane.create_namespace("later")

    private_control_plane.restart_api_server()
    private_control_plane.kubectl("create", "deployment", "web", "--image=i", "-n", "later")

    private_control_plane.kubectl(
        "rollout", "status", "deployment/web", "-n", "later", "--timeout=50s"
    )


def test_a_stopped_api_server_refuses_connections_until_it_is_started(private_control_plane):
    private_control_plane.stop_api_server()

    with pytest.raises(httpx.ConnectError):
        private_control_plane.http.get("/readyz")

    private_control_plane.start_api_server()
    assert private_control_plane.answers()


def test_a_paused_api_server_takes_connections_and_says_nothing(private_control_plane):
    private_control_plane.pause_api_server()

    with pytest.raises(httpx.TimeoutException):
        private_control_plane.http.get("/readyz", timeout=0.3)

    private_control_plane.resume_api_server()
    assert private_control_plane.answers()
