"""The pods of a service: what they run, see, may do and are given."""

from rendered_pods import container, deployment_of, env_of, pod_of

from lumen_manifest.node_pool import default_pool
from lumen_manifest.render import Images, RenderContext, render
from lumen_manifest.spec.enums import Accelerator


def test_containers_run_the_contracts_commands(a_service, a_pool):
    children = render(a_service(labelSets=[{"name": "a"}]), a_pool())
    pod = pod_of(children)

    commands = [c["command"] for c in (*pod["initContainers"], *pod["containers"])]

    assert commands == [
        ["python3", "-m", "lumen_resources"],
        ["python3", "-m", "lumen_serving", "prepare"],
        ["python3", "-m", "lumen_serving"],
    ]


def test_without_label_sets_there_is_nothing_to_prepare(a_service, a_pool):
    inits = pod_of(render(a_service(), a_pool()))["initContainers"]

    assert [c["name"] for c in inits] == ["resources"]


def test_every_port_and_path_is_a_variable(a_service, a_pool):
    env = env_of(render(a_service(), a_pool()), "server")

    assert {key: value for key, value in env.items() if isinstance(value, str)} == {
        "LUMEN_CONFIG": "/etc/lumen/server.json",
        "LUMEN_CACHE_DIR": "/var/lib/lumen",
        "LUMEN_SOURCE_DIR": "/mnt/source",
        "LUMEN_TERMINATION_LOG": "/dev/termination-log",
        "LUMEN_GRPC_PORT": "50051",
        "LUMEN_HEALTH_PORT": "50052",
        "LUMEN_METRICS_PORT": "9090",
        "LUMEN_BIND": "0.0.0.0",
        "LUMEN_DRAIN_DELAY_S": "5",
        "LUMEN_GRACE_S": "25",
        "LUMEN_LOG_FORMAT": "json",
        "LUMEN_LOG_LEVEL": "info",
        "HOME": "/tmp",
    }


def test_the_cpu_limit_is_told_when_there_is_one(a_service, a_pool):
    without = render(a_service(), a_pool())
    limited = render(a_service(resources={"limits": {"cpu": "1500m"}}), a_pool())

    assert "LUMEN_CPU_LIMIT" not in env_of(without, "server")
    assert env_of(limited, "server")["LUMEN_CPU_LIMIT"] == {
        "resourceFieldRef": {
            "containerName": "server",
            "resource": "limits.cpu",
            "divisor": "1",
        }
    }


def test_only_the_fetching_container_sees_the_secret_and_the_proxies(a_service, a_pool):
    service = a_service(model={"source": {"secretRef": {"name": "hub"}}}, labelSets=[{"name": "a"}])
    context = RenderContext(source_env={"HF_ENDPOINT": "https://mirror.example"})
    children = render(service, a_pool(), context=context)

    fetching = env_of(children, "resources")

    assert fetching["HF_ENDPOINT"] == "https://mirror.example"
    assert fetching["LUMEN_SOURCE_TOKEN"] == {
        "secretKeyRef": {"name": "hub", "key": "token", "optional": True}
    }
    for other in ("prepare", "server"):
        assert not {"HF_ENDPOINT", "LUMEN_SOURCE_TOKEN"} & env_of(children, other).keys()


def test_a_services_variable_wins_over_its_pools(a_service, a_pool):
    pool = a_pool(env=[{"name": "A", "value": "pool"}, {"name": "B", "value": "pool"}])
    service = a_service(server={"env": [{"name": "A", "value": "service"}]})

    env = env_of(render(service, pool), "server")

    assert (env["A"], env["B"]) == ("service", "pool")


def test_probes_ask_grpc_health_with_time_to_answer(a_service, a_pool):
    server = container(render(a_service(), a_pool()), "server")

    probes = {kind: server[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}

    assert {kind: probe["grpc"] for kind, probe in probes.items()} == {
        "startup": {"port": 50052, "service": "home_native.v1.Inference"},
        "readiness": {"port": 50052, "service": "home_native.v1.Inference"},
        "liveness": {"port": 50052, "service": "liveness"},
    }
    assert {probe["timeoutSeconds"] for probe in probes.values()} == {5}


def test_loading_may_take_as_long_as_the_rollouts_deadline(a_service, a_pool):
    children = render(a_service(rollout={"progressDeadlineSeconds": 3600}), a_pool())
    startup = container(children, "server")["startupProbe"]

    assert startup["periodSeconds"] * startup["failureThreshold"] == 3600
    assert deployment_of(children)["spec"]["progressDeadlineSeconds"] == 3600


def test_the_grace_period_is_above_drain_and_grace(a_service, a_pool):
    context = RenderContext(drain_delay_s=10, grace_s=60)

    pod = pod_of(render(a_service(), a_pool(), context=context))

    assert pod["terminationGracePeriodSeconds"] > 70


def test_no_container_has_a_privilege(a_service, a_pool):
    pod = pod_of(render(a_service(labelSets=[{"name": "a"}]), a_pool()))

    for each in (*pod["initContainers"], *pod["containers"]):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "procMount": "Default",
        }
        assert each["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert (pod["hostNetwork"], pod["hostPID"], pod["hostIPC"]) == (False, False, False)
    assert pod["automountServiceAccountToken"] is False


def test_the_server_reads_the_cache_and_only_init_containers_write_it(a_service, a_pool):
    children = render(a_service(labelSets=[{"name": "a"}]), a_pool())

    read_only = {
        name: {m["name"]: m["readOnly"] for m in container(children, name)["volumeMounts"]}
        for name in ("resources", "prepare", "server")
    }

    assert {name: mounts["cache"] for name, mounts in read_only.items()} == {
        "resources": False,
        "prepare": False,
        "server": True,
    }
    assert all(mounts["config"] and not mounts["tmp"] for mounts in read_only.values())


def test_a_model_on_a_claim_is_mounted_read_only_in_every_container(a_service, a_pool):
    children = render(a_service(model={"source": {"uri": "pvc://models/clip/s2"}}), a_pool())

    assert {
        "name": "source",
        "persistentVolumeClaim": {"claimName": "models", "readOnly": True},
    } in pod_of(children)["volumes"]
    for name in ("resources", "server"):
        assert {"name": "source", "mountPath": "/mnt/source", "readOnly": True} in (
            container(children, name)["volumeMounts"]
        )


def test_a_service_without_a_cache_takes_its_pools(a_service, a_pool):
    pool = a_pool(cache={"sizeLimit": "20Gi"})

    assert {"name": "cache", "emptyDir": {"sizeLimit": "20Gi"}} in (
        pod_of(render(a_service(), pool))["volumes"]
    )


def test_a_claim_that_is_not_shared_keeps_the_pods_on_one_node(a_service, a_pool):
    affinity = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    service = a_service(
        cache={"type": "persistentVolumeClaim", "claimName": "models"},
        podTemplate={"affinity": affinity},
    )

    pod = pod_of(render(service, a_pool()))

    (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"] == {"matchLabels": {"lumen.dev/service": "clip"}}
    assert "preferredDuringSchedulingIgnoredDuringExecution" in pod["affinity"]["podAffinity"]
    assert "topologySpreadConstraints" not in pod


def test_a_shared_claim_lets_the_pods_spread(a_service, a_pool):
    cache = {"type": "persistentVolumeClaim", "claimName": "models", "shared": True}

    pod = pod_of(render(a_service(cache=cache), a_pool()))

    assert "affinity" not in pod
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_a_pools_device_is_taken_by_the_containers_that_compute(a_service):
    pool = default_pool(Accelerator.CUDA)
    service = a_service(pool="cuda", labelSets=[{"name": "a"}], resources={"limits": {"cpu": "2"}})
    children = render(service, pool)

    assert container(children, "server")["resources"] == {
        "limits": {"cpu": "2", "nvidia.com/gpu": "1"},
        "requests": {"nvidia.com/gpu": "1"},
    }
    assert container(children, "prepare")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container(children, "resources")["resources"] == {"limits": {"cpu": "2"}}
    assert pod_of(children)["nodeSelector"] == {"lumen.dev/accelerator": "cuda"}


def test_a_pools_needs_reach_the_pod(a_service, a_pool):
    pool = a_pool(
        "rk",
        accelerator="rk3588",
        device={"resource": "rockchip.com/npu"},
        tolerations=[{"key": "npu", "operator": "Exists"}],
        runtimeClassName="npu",
        podSecurity={
            "supplementalGroups": [44],
            "procMount": "Unmasked",
            "hostUsers": False,
        },
    )
    service = a_service(
        model={"runtime": "rknn", "precision": "fp16"},
        podTemplate={"tolerations": [{"key": "mine", "value": "x"}]},
    )
    pod = pod_of(render(service, pool))

    assert pod["containers"][0]["securityContext"]["procMount"] == "Unmasked"
    assert pod["initContainers"][0]["securityContext"]["procMount"] == "Default"
    assert (pod["hostUsers"], pod["runtimeClassName"]) == (False, "npu")
    assert pod["securityContext"]["supplementalGroups"] == [44]
    assert [t["key"] for t in pod["tolerations"]] == ["npu", "mine"]


def test_images_are_the_pools_else_the_defaults(a_service, a_pool):
    images = RenderContext(images=Images(prefix="mirror", tag="2"))
    default = render(a_service(), a_pool(), context=images)
    own = render(a_service(), a_pool(images={"onnx": "mine:1"}), context=images)

    assert container(default, "server")["image"] == "mirror/server-onnx-cpu:2"
    assert container(default, "resources")["image"] == "mirror/resources:2"
    assert container(own, "server")["image"] == "mine:1"
