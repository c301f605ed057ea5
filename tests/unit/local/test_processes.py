"""How a rendered pod becomes local processes."""

from pathlib import Path

import pytest

from lumen_local.errors import PodNotRunnable
from lumen_local.pod.processes import FileToWrite, PodPaths, PodPorts, Probe, Probes, pod_processes

PORTS = PodPorts(grpc=40001, health=40002, metrics=40003)
CONFIG = {"metadata": {"name": "clip-abc"}, "data": {"server.json": "{}"}}


def places(**changes) -> PodPaths:
    values = {
        "pod_name": "clip-0",
        "pod_dir": Path("/state/pods/clip-0"),
        "cache_dir": Path("/cache"),
        "source_dir": Path("/manifests"),
        "bind": "127.0.0.1",
        "python": "/venv/bin/python",
        "parent_pid": 77,
        "run_id": "run-1",
        "log_level": None,
        "inherited": {"PATH": "/bin", "LUMEN_GRPC_PORT": "1", "LUMEN_SOURCE_TOKEN": "hush"},
    }
    return PodPaths(**{**values, **changes})


def env(**values: str) -> list[dict]:
    return [{"name": name, "value": value} for name, value in values.items()]


def a_server(**fields) -> dict:
    return {
        "name": "server",
        "command": ["python3", "-m", "lumen_serving"],
        "env": env(
            LUMEN_CONFIG="/etc/lumen/server.json",
            LUMEN_CACHE_DIR="/var/lib/lumen",
            LUMEN_GRPC_PORT="50051",
            LUMEN_HEALTH_PORT="50052",
            LUMEN_METRICS_PORT="9090",
            LUMEN_DRAIN_DELAY_S="5",
            LUMEN_LOG_LEVEL="info",
        ),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/lumen"},
            {"name": "cache", "mountPath": "/var/lib/lumen"},
        ],
        **fields,
    }


def a_pod(*containers, init=(), **fields) -> dict:
    pod = {
        "containers": list(containers) or [a_server()],
        "initContainers": list(init),
        "volumes": [
            {"name": "config", "configMap": {"name": "clip-abc"}},
            {"name": "cache", "emptyDir": {}},
        ],
        **fields,
    }
    return {"spec": {"template": {"spec": pod}}}


def server_of(deployment: dict, **changes):
    return pod_processes(deployment, [CONFIG], PORTS, places(**changes)).server


def test_python3_becomes_the_interpreter_that_runs_lumen_and_other_programs_stay():
    other = server_of(a_pod(a_server(command=["/bin/server"], args=["-v"])))

    assert server_of(a_pod()).argv == ("/venv/bin/python", "-m", "lumen_serving")
    assert other.argv == ("/bin/server", "-v")


def test_what_a_node_would_give_is_replaced_by_what_this_machine_gives():
    pod = pod_processes(a_pod(), [CONFIG], PORTS, places())
    config = Path("/state/pods/clip-0/volumes/config/server.json")

    assert pod.files == (FileToWrite(config, "{}"),)
    assert pod.server.env == {
        "PATH": "/bin",
        "LUMEN_SOURCE_TOKEN": "hush",
        "LUMEN_CONFIG": str(config),
        "LUMEN_CACHE_DIR": "/cache",
        "LUMEN_SOURCE_DIR": "/manifests",
        "LUMEN_GRPC_PORT": "40001",
        "LUMEN_HEALTH_PORT": "40002",
        "LUMEN_METRICS_PORT": "40003",
        "LUMEN_BIND": "127.0.0.1",
        "LUMEN_DRAIN_DELAY_S": "0",
        "LUMEN_PARENT_PID": "77",
        "LUMEN_RUN_ID": "run-1",
        "LUMEN_LOG_FORMAT": "console",
        "LUMEN_LOG_LEVEL": "warning",
        "LUMEN_TERMINATION_LOG": "/state/pods/clip-0/server.termination",
        "PYTHONUNBUFFERED": "1",
    }


def test_the_deepest_mount_decides_where_a_path_lies():
    mounts = [
        {"name": "cache", "mountPath": "/etc"},
        {"name": "config", "mountPath": "/etc/lumen", "subPath": "part"},
    ]
    server = a_server(env=env(A="/etc/lumen/x", B="/etc/y", C="/etcetera"), volumeMounts=mounts)
    found = server_of(a_pod(server)).env

    assert found["A"] == "/state/pods/clip-0/volumes/config/part/x"
    assert found["B"] == "/state/pods/clip-0/volumes/cache/y"
    assert found["C"] == "/etcetera"


def test_the_shells_variables_are_kept_but_for_our_contracts():
    found = server_of(a_pod(a_server(env=[])), inherited={"PATH": "/", "LUMEN_ROUTES_FILE": "/x"})

    assert found.env["PATH"] == "/"
    assert "LUMEN_ROUTES_FILE" not in found.env


def test_a_secrets_variable_comes_from_the_shell_and_is_named_when_it_is_not_there():
    secret = {"secretKeyRef": {"name": "hub-token", "key": "token"}}
    server = a_server(env=[{"name": "LUMEN_SOURCE_TOKEN", "valueFrom": secret}])

    assert server_of(a_pod(server)).env["LUMEN_SOURCE_TOKEN"] == "hush"
    assert server_of(a_pod(server)).missing_secrets == ()
    assert server_of(a_pod(server), inherited={}).missing_secrets == ("LUMEN_SOURCE_TOKEN",)


@pytest.mark.parametrize(
    ("declared", "asked", "expected"),
    [
        ("info", None, "warning"),
        ("debug", None, "debug"),
        ("error", None, "error"),
        ("error", "info", "info"),
    ],
)
def test_the_terminal_shows_warnings_unless_more_is_asked_for(declared, asked, expected):
    server = a_server(env=env(LUMEN_LOG_LEVEL=declared))

    assert server_of(a_pod(server), log_level=asked).env["LUMEN_LOG_LEVEL"] == expected


@pytest.mark.parametrize(
    ("quantity", "cores"),
    [(None, None), ("2", "2"), ("100m", "1"), ("2.5", "3"), ("2000m", "2"), ("1500m", "2")],
)
def test_a_cpu_limit_is_told_in_whole_cores_when_the_manifest_sets_one(quantity, cores):
    ref = {"resourceFieldRef": {"resource": "limits.cpu"}}
    limit = [{"name": "LUMEN_CPU_LIMIT", "valueFrom": ref}]
    limits = {"limits": {"cpu": quantity}} if quantity else {}

    server = a_server(env=limit, resources=limits)
    assert server_of(a_pod(server)).env.get("LUMEN_CPU_LIMIT") == cores


def test_init_containers_come_in_order_and_share_the_settings():
    init = [a_server(name="resources"), a_server(name="prepare")]
    pod = pod_processes(a_pod(init=init), [CONFIG], PORTS, places())

    assert [step.name for step in pod.init] == ["resources", "prepare"]
    assert pod.init[0].termination_log == Path("/state/pods/clip-0/resources.termination")
    assert pod.init[0].env["LUMEN_TERMINATION_LOG"] == "/state/pods/clip-0/resources.termination"


def test_probes_ask_the_local_health_port_and_keep_their_figures():
    grpc = {"port": 50052, "service": "liveness"}
    probe = {"grpc": grpc, "periodSeconds": 7, "timeoutSeconds": 5, "failureThreshold": 4}
    server = server_of(a_pod(a_server(livenessProbe=probe), terminationGracePeriodSeconds=45))

    alive = Probe(40002, "liveness", period_s=7, timeout_s=5, failure_threshold=4)
    assert server.probes == Probes(liveness=alive)
    assert server.grace_s == 45


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        (a_pod(a_server(), a_server(name="sidecar")), "2 containers"),
        (a_pod(a_server(command=[])), "has no command"),
        (a_pod(a_server(readinessProbe={"httpGet": {"port": 1}})), "only gRPC probes"),
        (
            a_pod(a_server(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x"}}}])),
            "exists only in a cluster",
        ),
        (
            a_pod(a_server(volumeMounts=[]), volumes=[{"name": "x", "configMap": {"name": "y"}}]),
            "names no rendered",
        ),
    ],
)
def test_a_pod_that_only_a_cluster_can_run_is_refused(deployment, message):
    with pytest.raises(PodNotRunnable, match=message):
        pod_processes(deployment, [CONFIG], PORTS, places())
