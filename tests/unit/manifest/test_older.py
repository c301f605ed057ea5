"""What is older becomes services: both shapes of the single server's YAML, and its variables."""

from pathlib import Path

import pytest

from lumen_manifest.legacy.single_server import (
    services_from_environment,
    services_from_single_server_yaml,
    single_server_in,
)
from lumen_manifest.reading.parse import ManifestError
from lumen_manifest.server_config import ConfigError, MdnsSpec
from lumen_manifest.spec.enums import Family

CLIP_ONLY = """\
metadata:
  version: "1.0.0"
  region: cn
  cache_dir: /srv/lumen

services:
  clip:
    enabled: true
    package: lumen_clip
    import:
      registry_class: lumen_clip.general_clip.GeneralCLIPService
      add_to_server: lumen_clip.proto.ml_service_pb2_grpc.add_InferenceServicer_to_server
    models:
      general:
        model: CN-CLIP_ViT-B-16
        runtime: onnx
        dataset: ImageNet_1k
        precision: fp16
    env:
      BATCH_SIZE: 8
      DEVICE: cuda
      ONNX_PROVIDERS: CUDAExecutionProvider,CPUExecutionProvider
      ONNX_INTRA_OP_THREADS: "4"
      ONNX_INTER_OP_THREADS: 1
      OMP_NUM_THREADS: 4
    server:
      port: 50061
      mdns:
        enabled: true
        name: CLIP-Service
        type: _homenative-node._tcp.local.
  bioclip:
    enabled: false
    package: lumen_bioclip
    models: {default: {model: bioclip-2, runtime: torch, dataset: TreeOfLife-10M}}
"""
NEWER = """\
metadata: {version: "1.0", region: other, cache_dir: ~/.lumen}
deployment:
  mode: single
  service: bioclip
server:
  port: 50070
  mdns: {enabled: false}
backend_settings:
  device: cpu
  batch_size: 16
  onnx_providers: [CPUExecutionProvider]
services:
  clip:
    enabled: true
    models: {general: {model: MobileCLIP2-S2, runtime: onnx}}
  bioclip:
    enabled: true
    import_info: {registry_class: a.B, add_to_server: c.d}
    models:
      bioclip: {model: bioclip-2, runtime: onnx, dataset: TreeOfLife-10M}
"""
UNIFIED = """\
services:
  clip-unified:
    enabled: true
    models:
      clip: {model: MobileCLIP2-S2, runtime: onnx, dataset: ImageNet_1k}
      bioclip: {model: bioclip-2, runtime: onnx, dataset: TreeOfLife-10M}
    server: {port: 50051}
"""


def translated(text: str):
    return services_from_single_server_yaml(text, "server.yaml")


def facts(single) -> dict[str, object]:
    """What a service asks for, as far as it differs from what older servers did unasked."""
    spec = single.service.spec
    found = {
        "pool": spec.pool,
        "runtime": spec.model.runtime,
        "precision": spec.model.precision,
        "batch": spec.server.max_batch_size,
        "uri": spec.model.source.uri,
        "providers": single.backend.onnx_providers,
        "target": single.rknn_target,
    }
    usual = ("cpu", "onnx", "fp32", 32, None, (), "")
    return {key: of for (key, of), same in zip(found.items(), usual, strict=True) if of != same}


def test_the_first_shape_becomes_a_service_with_all_its_settings():
    server = translated(CLIP_ONLY)

    (single,) = server.services
    spec = single.service.spec
    assert (single.service.name, spec.family, spec.model.name) == (
        *("clip", Family.CLIP, "CN-CLIP_ViT-B-16"),
    )
    assert facts(single) == {
        "pool": "cuda",
        "precision": "fp16",
        "batch": 8,
        "providers": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    }
    assert spec.model.source.region == "cn"
    assert [label_set.name for label_set in spec.label_sets] == ["ImageNet_1k"]
    assert [(env.name, env.value) for env in spec.server.env] == [("OMP_NUM_THREADS", "4")]
    assert (single.backend.intra_op_threads, single.backend.inter_op_threads) == (4, 1)
    assert (server.port, server.cache_dir) == (50061, Path("/srv/lumen"))
    assert server.mdns == MdnsSpec(name="CLIP-Service", type="_homenative-node._tcp.local.")
    assert server.warnings == ()


def test_the_newer_shape_starts_the_service_that_its_deployment_names():
    server = translated(NEWER)

    (single,) = server.services
    assert (single.service.spec.family, single.service.spec.model.name) == (
        *(Family.BIOCLIP, "bioclip-2"),
    )
    assert facts(single) == {"batch": 16, "providers": ("CPUExecutionProvider",)}
    assert (server.port, server.mdns.enabled) == (50070, False)
    assert server.cache_dir == Path("~/.lumen").expanduser()
    assert server.warnings == ()


def test_the_unified_form_becomes_two_services():
    server = translated(UNIFIED)

    assert [(s.service.name, s.service.spec.family) for s in server.services] == [
        ("clip", Family.CLIP),
        ("bioclip", Family.BIOCLIP),
    ]
    assert all(s.service.spec.default for s in server.services)
    assert server.services[0].service.spec.scenes is not None


def test_two_models_of_one_family_have_two_names():
    text = UNIFIED.replace("bioclip:", "second:").replace("bioclip-2", "MobileCLIP2-S4")

    assert [s.service.name for s in translated(text).services] == ["clip", "clip-second"]


@pytest.mark.parametrize(
    ("text", "before", "after", "pool", "target", "warnings"),
    [
        (
            CLIP_ONLY + "extra: 1\n",
            "port: 50061",
            "port: 50061\n      max_workers: 4",
            "cuda",
            "",
            [
                "extra has no meaning here and is ignored",
                "services.clip.server.max_workers has no meaning here and is ignored",
            ],
        ),
        (
            UNIFIED,
            "clip: {model: MobileCLIP2-S2, runtime: onnx",
            "clip: {model: MobileCLIP2-S2, runtime: rknn, rknn_device: rk3576",
            "rk3588",
            "rk3576",
            ["services.clip-unified.models.clip.precision: is missing; fp16 is used"],
        ),
        (
            CLIP_ONLY,
            "DEVICE: cuda",
            "DEVICE: mps",
            "cuda",  # what its providers say
            "",
            ["services.clip.env.DEVICE: device mps is not known here: cuda is used"],
        ),
    ],
)
def test_what_is_not_followed_is_warned_about_by_name(text, before, after, pool, target, warnings):
    server = translated(text.replace(before, after, 1))

    single = server.services[0]
    assert (single.service.spec.pool, single.rknn_target) == (pool, target)
    assert list(server.warnings) == [f"server.yaml: {warning}" for warning in warnings]
    assert single.service.spec.model.precision == "fp16"


@pytest.mark.parametrize(
    ("text", "before", "after", "message"),
    [
        (CLIP_ONLY, *row)
        for row in (
            ("runtime: onnx", "runtime: onyx", r'"onyx" is not a runtime\. Did you mean onnx'),
            ("precision: fp16", "precision: q4fp16", r'precision: "q4fp16" is not served'),
            ("port: 50061", "port: 99999", "99999 is not a port"),
            ("port: 50061", "port: high", r'server\.port: "high" is not a whole number'),
            ("enabled: true", "enabled: perhaps", "neither true nor false"),
            ("model: CN-CLIP_ViT-B-16", "model: [a]", "stands where text is needed"),
            ("model: CN-CLIP_ViT-B-16", "model: a/b/c", "write a model's name"),
            ("BATCH_SIZE: 8", "BATCH_SIZE: 9999", "service clip: BATCH_SIZE: 9999 is too large"),
            ("BATCH_SIZE: 8", 'BATCH_SIZE: "0"', "env.BATCH_SIZE: 0 is too small: at least 1"),
            ("BATCH_SIZE: 8", "BATCH_SIZE: -1", 'BATCH_SIZE: "-1" is not a whole number'),
            ("BATCH_SIZE: 8", "BATCH_SIZE: many", 'BATCH_SIZE: "many" is not a whole number'),
            ("BATCH_SIZE: 8", f"BATCH_SIZE: {'9' * 30}", "BATCH_SIZE: .* is too large a number"),
            ("port: 50061", "port: 0", "server.port: 0 is too small"),
            ("cache_dir: /srv/lumen", "cache_dir: ~nobody-here/x", "names nobody's home"),
            ("region: cn", "region: mars", '"mars" is not a region'),
            ("ONNX_INTER_OP_THREADS: 1", "ONNX_INTER_OP_THREADS: 5000", "5000 is too large"),
            ("models:\n      general:", "model:\n      general:", "models: names no model"),
            ("enabled: false", "enabled: true", "Multiple services enabled: clip, bioclip"),
            ("enabled: true", "enabled: false", r"No service enabled.*clip, bioclip"),
        )
    ]
    + [
        (NEWER, "service: bioclip", "services: [clip, bioclip]", "Multiple services enabled: clip"),
        (NEWER, "service: bioclip", "service: owl", r"names the service owl, .*\(clip, bioclip\)"),
    ],
)
def test_a_value_that_cannot_be_followed_is_an_error(text, before, after, message):
    assert before in text
    with pytest.raises(ConfigError, match=message):
        translated(text.replace(before, after, 1))


@pytest.mark.parametrize("text", ["", "- a\n", "services: [\n", "a: &a [*a]\n"])
def test_what_is_no_mapping_is_refused_with_its_place(text: str):
    with pytest.raises(ManifestError, match=r"^server\.yaml"):
        translated(text)


def test_an_older_configuration_is_told_apart_from_a_manifest():
    assert single_server_in(CLIP_ONLY, "server.yaml") == translated(CLIP_ONLY)
    for text in ("kind: LumenModelService\nservices: {}", "[]", "a: [", ""):
        assert single_server_in(text, "server.yaml") is None


IN_TWO_FOLDERS = (
    "CLIP_ONNX_IMAGE and CLIP_ONNX_TEXT lie in different folders and are ignored: "
    "put both into one folder"
)
NPU = {
    "CLIP_BACKEND": "rknn",
    "CLIP_RKNN_TARGET": "rk3566",
    "CLIP_RKNN_MODEL": "/m/clip/vision.rknn",
    "BIOCLIP_BACKEND": "onnx",
}
PER_FAMILY = {
    "BATCH_SIZE": "4",
    "CLIP_DEVICE": "cuda:0",
    "CLIP_MAX_BATCH_SIZE": "64",
    "BIOCLIP_ORT_PROVIDERS": "ROCMExecutionProvider, CPUExecutionProvider",
}
FILES = {"CLIP_ONNX_IMAGE": "/m/clip/visual.onnx", "CLIP_ONNX_TEXT": "/m/clip/textual.onnx"}
ROCM = {
    "pool": "rocm",
    "batch": 4,
    "providers": ("ROCMExecutionProvider", "CPUExecutionProvider"),
}
ON_NPU = {
    "pool": "rk3588",
    "runtime": "rknn",
    "precision": "fp16",
    "uri": "file:///m/clip",
    "target": "rk3566",
}


@pytest.mark.parametrize(
    ("environment", "clip", "bioclip"),
    [
        ({}, {}, {}),
        ({"CLIP_BACKEND": "torch"}, {"runtime": "torch"}, {"runtime": "torch"}),
        ({"CLIP_BACKEND": "torch", "BIOCLIP_BACKEND": "onnxrt"}, {"runtime": "torch"}, {}),
        (PER_FAMILY, {"pool": "cuda", "batch": 64}, ROCM),
        (FILES, {"uri": "file:///m/clip"}, {}),
        (NPU, ON_NPU, {}),
    ],
)
def test_variables_become_the_two_services_of_the_unified_form(environment, clip, bioclip):
    server = services_from_environment(environment)

    assert [(s.service.name, s.service.spec.model.name) for s in server.services] == [
        ("clip", "MobileCLIP2-S2"),
        ("bioclip", "bioclip-2"),
    ]
    assert list(map(facts, server.services)) == [clip, bioclip]
    assert (server.warnings, server.mdns) == ((), None)


def test_mdns_variables_are_kept():
    said = {"type": "_lumen-clip._tcp.local.", "name": "attic", "uuid": "u-1", "version": "2"}
    variables = {f"CLIP_MDNS_{key.upper()}": value for key, value in said.items()}
    server = services_from_environment(variables | {"ADVERTISE_IP": "192.168.1.9"})

    assert server.mdns == MdnsSpec(**said, status="ready", advertise_ip="192.168.1.9")


@pytest.mark.parametrize(
    ("environment", "warnings"),
    [
        (
            {"CLIP_ONNX_IMAGE": "/a/visual.onnx", "CLIP_ONNX_TEXT": "/b/textual.onnx"},
            [IN_TWO_FOLDERS],
        ),
        (
            {"CLIP_DEVICE": "cuda:1", "CLIP_FANCY": "1", "PATH": "/bin"},
            [
                "CLIP_DEVICE: cuda:1: choose the card by CUDA_VISIBLE_DEVICES=1",
                "CLIP_FANCY has no meaning here and is ignored",
            ],
        ),
    ],
)
def test_a_variable_that_is_not_followed_is_warned_about_by_name(environment, warnings):
    server = services_from_environment(environment)

    assert list(server.warnings) == [f"environment: {warning}" for warning in warnings]
    assert server.services[0].service.spec.model.source.uri is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CLIP_BACKEND": "torsh"}, r'CLIP_BACKEND: "torsh" is not a runtime\. Did you mean torch'),
        ({"BATCH_SIZE": "many"}, r'BATCH_SIZE: "many" is not a whole number'),
        ({"BATCH_SIZE": "100000"}, "BATCH_SIZE: 100000 is too large"),
        ({"CLIP_MAX_BATCH_SIZE": "0"}, "CLIP_MAX_BATCH_SIZE: 0 is too small"),
    ],
)
def test_a_wrong_variable_is_an_error(environment: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        services_from_environment(environment)


def test_no_refusal_of_an_older_configuration_speaks_of_a_manifests_fields():
    for change in (
        "model: CN-CLIP_ViT-B-16",
        "BATCH_SIZE: 8",
        "region: cn",
        "dataset: ImageNet_1k",
    ):
        key = change.partition(":")[0]
        with pytest.raises(ConfigError) as refused:
            translated(CLIP_ONLY.replace(change, f"{key}: '99999 {{}} /'", 1))

        assert "spec." not in str(refused.value)
        assert key in str(refused.value)
