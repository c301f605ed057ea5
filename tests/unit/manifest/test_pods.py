"""The pods of a service: what they run, see, may do and are given."""

import pytest
from rendered_pods import container, deployment_of, env_of, pod_of

from lumen_manifest.node_pool import default_pool
from lumen_manifest.render import Images, RenderContext
from lumen_manifest.spec.enums import Accelerator

LABELS = [{"name": "a"}]
HEALTH = {"port": 50052, "service": "home_native.v1.Inference"}


def test_containers_run_the_contracts_commands(rendered):
    pod = pod_of(rendered(labelSets=LABELS))
    plain = pod_of(rendered())

    assert [c["command"] for c in (*pod["initContainers"], *pod["containers"])] == [
        ["python3", "-m", "lumen_resources"],
        ["python3", "-m", "lumen_serving", "prepare"],
        ["python3", "-m", "lumen_serving"],
    ]
    assert [c["name"] for c in plain["initContainers"]] == ["resources"]  # nothing to prepare


def test_every_port_and_path_is_a_variable(rendered):
    env = env_of(rendered(), "server")

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


def test_the_cpu_limit_is_told_when_there_is_one(rendered):
    limited = env_of(rendered(resources={"limits": {"cpu": "1500m"}}), "server")

    assert "LUMEN_CPU_LIMIT" not in env_of(rendered(), "server")
    assert limited["LUMEN_CPU_LIMIT"] == {
        "resourceFieldRef": {
            "containerName": "server",
            "resource": "limits.cpu",
            "divisor": "1",
        }
    }


def test_only_the_fetching_container_sees_the_secret_and_the_proxies(rendered):
    context = RenderContext(source_env={"HF_ENDPOINT": "https://mirror.example"})
    source = {"secretRef": {"name": "hub"}}
    children = rendered(context=context, model={"source": source}, labelSets=LABELS)

    fetching = env_of(children, "resources")

    assert fetching["HF_ENDPOINT"] == "https://mirror.example"
    assert fetching["LUMEN_SOURCE_TOKEN"] == {
        "secretKeyRef": {"name": "hub", "key": "token", "optional": True}
    }
    for other in ("prepare", "server"):
        assert not {"HF_ENDPOINT", "LUMEN_SOURCE_TOKEN"} & env_of(children, other).keys()


def test_a_services_variable_wins_over_its_pools(rendered, a_pool):
    pool = a_pool(env=[{"name": name, "value": "pool"} for name in "AB"])

    env = env_of(rendered(pool, server={"env": [{"name": "A", "value": "service"}]}), "server")

    assert (env["A"], env["B"]) == ("service", "pool")


def test_probes_ask_grpc_health_with_time_to_answer(rendered):
    server = container(rendered(), "server")

    probes = [server[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]

    assert [probe["grpc"] for probe in probes] == [
        HEALTH,
        HEALTH,
        {"port": 50052, "service": "liveness"},
    ]
    assert {probe["timeoutSeconds"] for probe in probes} == {5}


def test_loading_may_take_as_long_as_the_rollouts_deadline(rendered):
    children = rendered(rollout={"progressDeadlineSeconds": 3600})
    startup = container(children, "server")["startupProbe"]

    assert startup["periodSeconds"] * startup["failureThreshold"] == 3600
    assert deployment_of(children)["spec"]["progressDeadlineSeconds"] == 3600


def test_the_grace_period_is_above_drain_and_grace(rendered):
    pod = pod_of(rendered(context=RenderContext(drain_delay_s=10, grace_s=60)))

    assert pod["terminationGracePeriodSeconds"] > 70


def test_no_container_has_a_privilege(rendered):
    pod = pod_of(rendered(labelSets=LABELS))

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


@pytest.mark.parametrize(
    ("name", "read_only"), [("resources", False), ("prepare", False), ("server", True)]
)
def test_the_server_reads_the_cache_and_only_init_containers_write_it(rendered, name, read_only):
    mounts = container(rendered(labelSets=LABELS), name)["volumeMounts"]

    assert {mount["name"]: mount["readOnly"] for mount in mounts} == {
        "config": True,
        "cache": read_only,
        "tmp": False,
    }


def test_a_model_on_a_claim_is_mounted_read_only_in_every_container(rendered):
    children = rendered(model={"source": {"uri": "pvc://models/clip/s2"}})
    claim = {"claimName": "models", "readOnly": True}
    mount = {"name": "source", "mountPath": "/mnt/source", "readOnly": True}

    assert {"name": "source", "persistentVolumeClaim": claim} in pod_of(children)["volumes"]
    for name in ("resources", "server"):
        assert mount in container(children, name)["volumeMounts"]


def test_lists_of_names_are_mounted_where_every_container_reads_them(rendered):
    birds = {"name": "birds", "includeFrom": {"configMap": {"name": "parks", "key": "park.csv"}}}
    children = rendered(labelSets=[birds, {"name": "all"}])

    pod = pod_of(children)
    items = [{"key": "park.csv", "path": "birds.include"}]
    source = {"configMap": {"name": "parks", "items": items, "optional": True}}
    assert {"name": "names", "projected": {"sources": [source]}} in pod["volumes"]
    mount = {"name": "names", "mountPath": "/etc/lumen-names", "readOnly": True}
    assert all(mount in c["volumeMounts"] for c in (*pod["initContainers"], *pod["containers"]))


def test_label_sets_and_lists_on_further_claims_are_mounted_beside_the_models(rendered):
    sets = [
        {"name": "own", "source": {"uri": "pvc://models/heads"}},
        {"name": "heads", "source": {"uri": "pvc://heads/tree"}},
        {"name": "park", "includeFrom": {"uri": "pvc://parks.v1/birds.txt"}},
    ]
    children = rendered(model={"source": {"uri": "pvc://models/clip"}}, labelSets=sets)

    pod = pod_of(children)
    claims = {
        each["name"]: each["persistentVolumeClaim"]["claimName"]
        for each in pod["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert claims == {"source": "models", "source-1": "heads", "source-2": "parks.v1"}
    for each in (*pod["initContainers"], *pod["containers"]):
        places = {m["name"]: m["mountPath"] for m in each["volumeMounts"] if m["name"] in claims}
        assert places == {
            "source": "/mnt/source",
            "source-1": "/mnt/claims/heads",
            "source-2": "/mnt/claims/parks.v1",
        }


def test_a_list_from_elsewhere_is_pinned_and_no_other_service_gets_another_pin(rendered, a_service):
    def pins(**said) -> str:
        return a_service(labelSets=[{"name": "birds", "includeFrom": said}]).pins_name

    plain = pins(file="a.txt")
    assert plain == pins(file="b.txt") == a_service(labelSets=[{"name": "birds"}]).pins_name
    assert len({plain, pins(uri="https://h/a.txt"), pins(uri="https://h/b.txt")}) == 3
    children = rendered(labelSets=[{"name": "birds", "includeFrom": {"uri": "https://h/a.txt"}}])
    named = {each["name"] for each in container(children, "resources")["env"]}
    assert "LUMEN_PINNED_LABEL_SETS" in named


def test_a_service_without_a_cache_takes_its_pools(rendered, a_pool):
    volumes = pod_of(rendered(a_pool(cache={"sizeLimit": "20Gi"})))["volumes"]

    assert {"name": "cache", "emptyDir": {"sizeLimit": "20Gi"}} in volumes


def test_who_fetches_is_told_how_far_a_pods_own_cache_may_grow(rendered, a_pool):
    limited = env_of(rendered(a_pool(cache={"sizeLimit": "2Gi"})), "resources")
    assert limited["LUMEN_CACHE_LIMIT_BYTES"] == str(2 << 30)

    claim = {"type": "persistentVolumeClaim", "claimName": "models"}
    assert "LUMEN_CACHE_LIMIT_BYTES" not in env_of(rendered(cache=claim), "resources")


def test_a_claim_that_is_not_shared_keeps_the_pods_on_one_node(rendered):
    affinity = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    cache = {"type": "persistentVolumeClaim", "claimName": "models"}

    pod = pod_of(rendered(cache=cache, podTemplate={"affinity": affinity}))

    assert pod["affinity"]["podAffinity"] == {
        "preferredDuringSchedulingIgnoredDuringExecution": [],
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"lumen.dev/service": "clip"}},
            }
        ],
    }
    assert "topologySpreadConstraints" not in pod


def test_a_shared_claim_lets_the_pods_spread(rendered):
    cache = {"type": "persistentVolumeClaim", "claimName": "models", "shared": True}

    pod = pod_of(rendered(cache=cache))

    assert "affinity" not in pod
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_a_pools_device_is_taken_by_the_containers_that_compute(rendered):
    limits = {"limits": {"cpu": "2"}}
    children = rendered(default_pool(Accelerator.CUDA), labelSets=LABELS, resources=limits)

    assert container(children, "server")["resources"] == {
        "limits": {"cpu": "2", "nvidia.com/gpu": "1"},
        "requests": {"memory": "576Mi", "nvidia.com/gpu": "1"},
    }
    assert container(children, "prepare")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container(children, "resources")["resources"] == limits
    assert pod_of(children)["nodeSelector"] == {"lumen.dev/accelerator": "cuda"}


def test_a_pools_needs_reach_the_pod(rendered, a_pool):
    pool = a_pool(
        "rk",
        accelerator="rk3588",
        device={"resource": "rockchip.com/npu"},
        tolerations=[{"key": "npu", "operator": "Exists"}],
        runtimeClassName="npu",
        podSecurity={"supplementalGroups": [44], "procMount": "Unmasked", "hostUsers": False},
    )
    pod = pod_of(
        rendered(
            pool,
            model={"runtime": "rknn", "precision": "fp16"},
            podTemplate={"tolerations": [{"key": "mine", "value": "x"}]},
        )
    )

    assert pod["containers"][0]["securityContext"]["procMount"] == "Unmasked"
    assert pod["initContainers"][0]["securityContext"]["procMount"] == "Default"
    assert (pod["hostUsers"], pod["runtimeClassName"]) == (False, "npu")
    assert pod["securityContext"]["supplementalGroups"] == [44]
    assert [t["key"] for t in pod["tolerations"]] == ["npu", "mine"]


def test_images_are_the_pools_else_the_defaults(rendered, a_pool):
    context = RenderContext(images=Images(prefix="mirror", tag="2"))
    default, own = (
        rendered(pool, context=context) for pool in (None, a_pool(images={"onnx": "mine:1"}))
    )

    assert container(default, "server")["image"] == "mirror/server-onnx-cpu:2"
    assert container(default, "resources")["image"] == "mirror/resources:2"
    assert container(own, "server")["image"] == "mine:1"
