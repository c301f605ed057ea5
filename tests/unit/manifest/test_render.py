"""What is made of a service: which manifests, named and labelled how, with which settings."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered_pods import deployment_of, pod_of

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import config_map_name
from lumen_manifest.node_pool import default_pool, default_pools
from lumen_manifest.render import Pinned, RenderContext, RenderError, render
from lumen_manifest.server_config import BackendOverrides, MdnsSpec, ServerConfig
from lumen_manifest.spec.enums import Accelerator


def test_the_same_service_gives_the_same_manifests(rendered):
    first, second = (rendered() for _ in range(2))

    assert json.dumps(first.all) == json.dumps(second.all)


def test_manifests_hold_plain_json_only(rendered):
    manifests = list(
        rendered(
            labelSets=[{"name": "a"}],
            autoscaling={"maxReplicas": 2},
            podTemplate={"tolerations": [{"key": "x", "operator": "Exists"}]},
        ).all
    )

    assert json.loads(json.dumps(manifests)) == manifests  # no tuple
    assert yaml.safe_dump(manifests)  # which refuses whatever is more than a plain text or number


def test_children_come_in_the_order_in_which_they_are_needed(rendered):
    context = RenderContext(pinned=Pinned("c0ffee", "d1"))

    kinds = [
        manifest["kind"]
        for manifest in rendered(autoscaling={"maxReplicas": 2}, context=context).all
    ]

    assert kinds == [
        "ConfigMap",
        "ConfigMap",
        "NetworkPolicy",
        "Service",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "Deployment",
    ]


def test_every_child_is_labelled_and_owned(rendered):
    for manifest in rendered(uid="u-1").all:
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
    children, spec = render(service, a_pool()), service.spec

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.service, config.model, config.server.max_queue) == ("clip", spec.model, 7)
    assert (config.label_sets, config.scenes) == (spec.label_sets, spec.scenes)
    assert children.config_map["immutable"] is True
    name = children.config_map["metadata"]["name"]
    assert name == config_map_name("clip", children.config_map["data"])
    assert {"name": "config", "configMap": {"name": name}} in pod_of(children)["volumes"]


def test_the_npu_pool_names_its_target(a_service):
    service = a_service(model={"runtime": "rknn", "precision": "fp16"}, pool="rk3588")
    children = render(service, default_pool(Accelerator.RK3588))

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.accelerator, config.rknn_target) == (Accelerator.RK3588, "rk3588")


def test_a_runtime_that_the_pool_does_not_run_is_refused(a_service, a_pool):
    with pytest.raises(RenderError, match="pool cpu does not run torch; it runs onnx"):
        render(a_service(model={"runtime": "torch"}), a_pool(images={"onnx": "mine:1"}))


def test_an_external_service_has_no_children(a_service, a_pool):
    with pytest.raises(RenderError, match="nothing is deployed"):
        render(a_service(pool=None, external="board:50051"), a_pool())


def test_a_users_label_never_replaces_ours(a_service, a_pool):
    service = a_service(podTemplate={"labels": {"team": "birds"}, "annotations": {"a": "b"}})

    metadata = deployment_of(render(service, a_pool()))["spec"]["template"]["metadata"]

    assert metadata["labels"]["team"] == "birds"
    assert metadata["labels"]["lumen.dev/service"] == "clip"
    assert metadata["annotations"] == {"a": "b"}


def test_older_settings_reach_the_server(rendered):
    context = RenderContext(
        backend=BackendOverrides(onnx_providers=("CPUExecutionProvider",), intra_op_threads=3),
        mdns=MdnsSpec(name="attic"),
    )
    children = rendered(context=context)

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.onnx_providers, config.intra_op_threads) == (("CPUExecutionProvider",), 3)
    assert config.mdns == MdnsSpec(name="attic")


def test_there_is_a_default_pool_for_every_accelerator():
    pools = default_pools()

    assert [pool.name for pool in pools] == ["cpu", "cuda", "rocm", "rk3588"]
    assert [pool.spec.device is None for pool in pools] == [True, False, False, False]


@settings(max_examples=100)
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
