"""The pods of a service: what they run, see, may do, and how they are replaced."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_manifest.closed_sets import Accelerator
from lumen_manifest.default_pools import default_pool, default_pools
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import config_map_name
from lumen_manifest.render import Images, Pinned, RenderContext, RenderError, render
from lumen_manifest.render.controller_revision import controller_revision, revision_name
from lumen_manifest.server_config import BackendOverrides, MdnsSpec, ServerConfig

PLAIN = {dict, list, str, int, float, bool, type(None)}


def deployment_of(children) -> dict[str, Any]:
    (deployment,) = children.deployments
    return deployment


def pod_of(children) -> dict[str, Any]:
    return deployment_of(children)["spec"]["template"]["spec"]


def container(children, name: str) -> dict[str, Any]:
    pod = pod_of(children)
    (found,) = [c for c in (*pod["initContainers"], *pod["containers"]) if c["name"] == name]
    return found


def env_of(children, name: str) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(children, name)["env"]}


def types_in(value: Any) -> set[type]:
    found = {type(value)}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        found |= types_in(each)
    return found | ({type(key) for key in value} if isinstance(value, dict) else set())


def test_the_same_service_gives_the_same_manifests(a_service, a_pool):
    first, second = (render(a_service(), a_pool()) for _ in range(2))

    assert json.dumps(first.all) == json.dumps(second.all)


def test_manifests_hold_plain_json_only(a_service, a_pool):
    service = a_service(
        labelSets=[{"name": "a"}],
        autoscaling={"maxReplicas": 2},
        podTemplate={"tolerations": [{"key": "x", "operator": "Exists"}]},
    )

    assert types_in(list(render(service, a_pool()).all)) <= PLAIN


def test_children_come_in_the_order_in_which_they_are_needed(a_service, a_pool):
    service = a_service(autoscaling={"maxReplicas": 2})
    context = RenderContext(pinned=Pinned("c0ffee", "d1"))

    kinds = [manifest["kind"] for manifest in render(service, a_pool(), context=context).all]

    assert kinds == [
        "ConfigMap",
        "ConfigMap",
        "NetworkPolicy",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
    ]


def test_every_child_is_labelled_and_owned(a_service, a_pool):
    for manifest in render(a_service(uid="u-1"), a_pool()).all:
        metadata = manifest["metadata"]

        assert metadata["labels"]["lumen.dev/service"] == "clip"
        assert metadata["labels"]["lumen.dev/family"] == "clip"
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "lumen.dev/v1alpha1",
                "kind": "LumenModelService",
                "name": "clip",
                "uid": "u-1",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]


def test_the_config_map_holds_the_servers_settings_and_is_named_by_them(a_service, a_pool):
    service = a_service(labelSets=[{"name": "ImageNet_1k"}], scenes={}, server={"maxQueue": 7})
    children = render(service, a_pool())

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.service, config.model, config.server.max_queue) == (
        "clip",
        service.spec.model,
        7,
    )
    assert (config.label_sets, config.scenes) == (service.spec.label_sets, service.spec.scenes)
    assert children.config_map["immutable"] is True
    assert children.config_map["metadata"]["name"] == config_map_name(
        "clip", children.config_map["data"]
    )
    assert {"name": "config", "configMap": {"name": children.config_map["metadata"]["name"]}} in (
        pod_of(children)["volumes"]
    )


def test_another_setting_gives_another_config_map(a_service, a_pool):
    names = {
        render(a_service(server={"maxQueue": size}), a_pool()).config_map["metadata"]["name"]
        for size in (1, 2)
    }

    assert len(names) == 2


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


def test_the_npu_pool_names_its_target(a_service):
    service = a_service(model={"runtime": "rknn", "precision": "fp16"}, pool="rk3588")
    children = render(service, default_pool(Accelerator.RK3588))

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.accelerator, config.rknn_target) == (Accelerator.RK3588, "rk3588")


def test_images_are_the_pools_else_the_defaults(a_service, a_pool):
    images = RenderContext(images=Images(prefix="mirror", tag="2"))
    default = render(a_service(), a_pool(), context=images)
    own = render(a_service(), a_pool(images={"onnx": "mine:1"}), context=images)

    assert container(default, "server")["image"] == "mirror/server-onnx-cpu:2"
    assert container(default, "resources")["image"] == "mirror/resources:2"
    assert container(own, "server")["image"] == "mine:1"


def test_a_runtime_that_the_pool_does_not_run_is_refused(a_service, a_pool):
    with pytest.raises(RenderError, match="pool cpu does not run torch; it runs onnx"):
        render(a_service(model={"runtime": "torch"}), a_pool(images={"onnx": "mine:1"}))


def test_an_external_service_has_no_children(a_service, a_pool):
    with pytest.raises(RenderError, match="nothing is deployed"):
        render(a_service(pool=None, external="board:50051"), a_pool())


def test_one_pod_runs_until_its_files_are_pinned(a_service, a_pool):
    service = a_service(replicas=3)
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1"))

    before, after = render(service, a_pool()), render(service, a_pool(), context=pinned)

    assert deployment_of(before)["spec"]["replicas"] == 1
    assert deployment_of(after)["spec"]["replicas"] == 3
    assert after.pins["data"].items() >= {"revision": "c0ffee", "digest": "d1"}.items()


def test_pins_belong_to_a_model_and_its_label_sets_and_to_nothing_else(a_service, a_pool):
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1"))

    def name(**spec):
        return render(a_service(**spec), a_pool(), context=pinned).pins["metadata"]["name"]

    assert name() == name(replicas=4) == name(server={"maxQueue": 7})
    assert name() != name(model={"name": "other", "runtime": "onnx"})
    assert name() != name(labelSets=[{"name": "ImageNet_1k"}])


def test_pods_say_which_revision_they_are_made_from(a_service, a_pool):
    template = deployment_of(
        render(a_service(), a_pool(), context=RenderContext(revision="clip-0123456789"))
    )["spec"]["template"]

    assert template["metadata"]["labels"]["lumen.dev/revision"] == "clip-0123456789"


def test_a_service_scaled_to_zero_stays_at_zero(a_service, a_pool):
    assert deployment_of(render(a_service(replicas=0), a_pool()))["spec"]["replicas"] == 0


def test_pinning_the_files_restarts_no_pod(a_service, a_pool):
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1"))

    before = deployment_of(render(a_service(), a_pool()))["spec"]["template"]
    after = deployment_of(render(a_service(), a_pool(), context=pinned))["spec"]["template"]

    assert before == after


def test_rollouts_surge_unless_the_pool_is_full(a_service, a_pool):
    steps = [
        deployment_of(render(a_service(), a_pool(), context=RenderContext(surge=surge)))["spec"][
            "strategy"
        ]["rollingUpdate"]
        for surge in (True, False)
    ]

    assert steps == [
        {"maxSurge": 1, "maxUnavailable": 0},
        {"maxSurge": 0, "maxUnavailable": 1},
    ]


def test_the_headless_service_selects_the_deployments_pods(a_service, a_pool):
    children = render(a_service(), a_pool())
    (service,) = children.services
    template = deployment_of(children)["spec"]["template"]

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment_of(children)["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {
        "grpc": 50051,
        "metrics": 9090,
    }


def test_a_users_label_never_replaces_ours(a_service, a_pool):
    service = a_service(podTemplate={"labels": {"team": "birds"}, "annotations": {"a": "b"}})

    metadata = deployment_of(render(service, a_pool()))["spec"]["template"]["metadata"]

    assert metadata["labels"]["team"] == "birds"
    assert metadata["labels"]["lumen.dev/service"] == "clip"
    assert metadata["annotations"] == {"a": "b"}


def test_the_autoscaler_targets_the_service_and_not_the_deployment(a_service, a_pool):
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 8,
        "metrics": [
            {"type": "inflight", "target": 8},
            {"type": "queueWait", "target": 250},
            {"type": "cpu", "target": 80},
        ],
    }
    service = a_service(autoscaling=scaling, resources={"requests": {"cpu": "2"}})
    spec = render(service, a_pool()).horizontal_pod_autoscaler["spec"]

    assert spec["scaleTargetRef"]["kind"] == "LumenModelService"
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    inflight, queue_wait, cpu = spec["metrics"]
    assert inflight["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}
    assert queue_wait["pods"]["metric"]["name"] == "lumen_queue_wait_seconds"
    assert queue_wait["pods"]["target"]["averageValue"] == "250m"
    assert cpu["containerResource"]["container"] == "server"


def test_whole_seconds_of_queue_wait_are_written_as_the_api_server_keeps_them(a_service, a_pool):
    scaling = {"maxReplicas": 2, "metrics": [{"type": "queueWait", "target": 2000}]}

    (metric,) = render(a_service(autoscaling=scaling), a_pool()).horizontal_pod_autoscaler["spec"][
        "metrics"
    ]

    assert metric["pods"]["target"]["averageValue"] == "2"


def test_nodes_are_drained_one_pod_at_a_time(a_service, a_pool):
    assert render(a_service(), a_pool()).pod_disruption_budget["spec"] == {
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
        ("pvc://models/clip", {"HTTPS_PROXY": "http://proxy:3128"}, []),
        ("file:///models/clip", {}, []),
    ],
)
def test_pods_may_reach_their_source_and_nothing_else(a_service, a_pool, uri, source_env, ports):
    service = a_service(model={"source": {"uri": uri} if uri else {}})
    policy = render(service, a_pool(), context=RenderContext(source_env=source_env)).network_policy

    found = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]

    assert found == ports
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_metrics_are_for_monitoring_and_calls_for_callers(a_service, a_pool):
    calls, metrics = render(a_service(), a_pool()).network_policy["spec"]["ingress"]

    assert [port["port"] for port in calls["ports"]] == [50051, 9090]
    assert [port["port"] for port in metrics["ports"]] == [9090]
    assert all(each for each in (*calls["from"], *metrics["from"]))


def test_older_settings_reach_the_server(a_service, a_pool):
    context = RenderContext(
        backend=BackendOverrides(onnx_providers=("CPUExecutionProvider",), intra_op_threads=3),
        mdns=MdnsSpec(name="attic"),
    )
    children = render(a_service(), a_pool(), context=context)

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.onnx_providers, config.intra_op_threads) == (("CPUExecutionProvider",), 3)
    assert config.mdns == MdnsSpec(name="attic")


def test_there_is_a_default_pool_for_every_accelerator():
    pools = default_pools()

    assert [pool.name for pool in pools] == ["cpu", "cuda", "rocm", "rk3588"]
    assert [pool.spec.device is None for pool in pools] == [True, False, False, False]


def test_a_revision_is_what_decides_the_pods(a_service):
    same = {revision_name(a_service(replicas=count, aliases=["x"])) for count in (1, 2)}
    other = revision_name(a_service(server={"maxQueue": 1}))
    stored = controller_revision(a_service(), 3)

    assert len(same) == 1
    assert other not in same
    assert stored["revision"] == 3
    assert "replicas" not in stored["data"]["spec"]


@settings(max_examples=100, deadline=None)
@given(
    name=st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True),
    replicas=st.integers(0, 5),
    labels=st.booleans(),
    pool=st.sampled_from(default_pools()),
)
def test_names_fit_and_selectors_match_for_every_service(name, replicas, labels, pool):
    service = LumenModelService.model_validate(
        {
            "metadata": {"name": name},
            "spec": {
                "family": "clip",
                "model": {"name": "m", "runtime": "onnx"},
                "pool": pool.name,
                "replicas": replicas,
                "labelSets": [{"name": "a"}] if labels else [],
            },
        }
    )
    children = render(service, pool)

    for manifest in children.all:
        assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())
    labels_of_pods = deployment_of(children)["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment_of(children)["spec"]["selector"]["matchLabels"],
        children.services[0]["spec"]["selector"],
        children.pod_disruption_budget["spec"]["selector"]["matchLabels"],
        children.network_policy["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels_of_pods.items()
