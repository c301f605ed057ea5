"""Configurations of the older single server, in both shapes, become services."""

from pathlib import Path

import pytest

from lumen_manifest.legacy.single_server import services_from_single_server_yaml, single_server_in
from lumen_manifest.node_pool import default_pool
from lumen_manifest.reading.parse import ManifestError
from lumen_manifest.render import RenderContext, render
from lumen_manifest.server_config import ConfigError, MdnsSpec, ServerConfig
from lumen_manifest.spec.enums import Accelerator, Family, Precision, Runtime

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


def test_the_first_shape_becomes_a_service_with_all_its_settings():
    server = translated(CLIP_ONLY)

    (single,) = server.services
    spec = single.service.spec
    assert (single.service.name, spec.family, spec.pool) == ("clip", Family.CLIP, "cuda")
    assert (
        spec.model.name,
        spec.model.runtime,
        spec.model.precision,
        spec.model.source.region,
    ) == (
        "CN-CLIP_ViT-B-16",
        Runtime.ONNX,
        Precision.FP16,
        "cn",
    )
    assert [label_set.name for label_set in spec.label_sets] == ["ImageNet_1k"]
    assert spec.server.max_batch_size == 8
    assert [(env.name, env.value) for env in spec.server.env] == [("OMP_NUM_THREADS", "4")]
    assert single.backend.onnx_providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert (single.backend.intra_op_threads, single.backend.inter_op_threads) == (4, 1)
    assert (server.port, server.cache_dir) == (50061, Path("/srv/lumen"))
    assert server.mdns == MdnsSpec(name="CLIP-Service", type="_homenative-node._tcp.local.")
    assert server.warnings == ()


def test_the_newer_shape_starts_the_service_that_its_deployment_names():
    server = translated(NEWER)

    (single,) = server.services
    spec = single.service.spec
    assert (spec.family, spec.model.name, spec.pool) == (Family.BIOCLIP, "bioclip-2", "cpu")
    assert spec.server.max_batch_size == 16
    assert single.backend.onnx_providers == ("CPUExecutionProvider",)
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


def test_several_enabled_services_are_an_error_that_names_them():
    with pytest.raises(ConfigError, match="Multiple services enabled: clip, bioclip"):
        translated(CLIP_ONLY.replace("enabled: false", "enabled: true"))


def test_several_deployed_services_are_an_error_too():
    text = NEWER.replace("service: bioclip", "services: [clip, bioclip]")

    with pytest.raises(ConfigError, match="Multiple services enabled: clip, bioclip"):
        translated(text)


def test_no_enabled_service_is_an_error_that_names_the_choices():
    with pytest.raises(ConfigError, match=r"No service enabled.*clip, bioclip"):
        translated(CLIP_ONLY.replace("enabled: true", "enabled: false", 1))


def test_a_deployed_service_that_is_not_described_is_an_error():
    with pytest.raises(ConfigError, match=r"names the service owl, .*\(clip, bioclip\)"):
        translated(NEWER.replace("service: bioclip", "service: owl"))


def test_keys_without_a_meaning_are_warned_about_by_name():
    text = CLIP_ONLY.replace("port: 50061", "port: 50061\n      max_workers: 4") + "extra: 1\n"

    assert translated(text).warnings == (
        "server.yaml: extra has no meaning here and is ignored",
        "server.yaml: services.clip.server.max_workers has no meaning here and is ignored",
    )


def test_an_rknn_model_keeps_its_target_and_gets_a_precision():
    text = UNIFIED.replace(
        "clip: {model: MobileCLIP2-S2, runtime: onnx",
        "clip: {model: MobileCLIP2-S2, runtime: rknn, rknn_device: rk3576",
        1,
    )

    server = translated(text)

    single = server.services[0]
    assert (single.service.spec.pool, single.rknn_target) == ("rk3588", "rk3576")
    assert single.service.spec.model.precision is Precision.FP16
    assert server.warnings == (
        "server.yaml: services.clip-unified.models.clip.precision: is missing; fp16 is used",
    )


def test_a_device_that_is_not_known_is_warned_about():
    server = translated(CLIP_ONLY.replace("DEVICE: cuda", "DEVICE: mps"))

    assert server.services[0].service.spec.pool == "cuda"  # what its providers say
    assert server.warnings == (
        "server.yaml: services.clip.env.DEVICE: device mps is not known here: cuda is used",
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("runtime: onnx", "runtime: onyx", r'runtime: "onyx" is not a runtime\. Did you mean onnx'),
        ("precision: fp16", "precision: q4fp16", r'precision: "q4fp16" is not served'),
        ("port: 50061", "port: 99999", "99999 is not a port"),
        ("port: 50061", "port: high", r'server\.port: "high" is not a whole number'),
        ("enabled: true", "enabled: perhaps", "neither true nor false"),
        ("model: CN-CLIP_ViT-B-16", "model: [a]", "stands where text is needed"),
        ("model: CN-CLIP_ViT-B-16", "model: a/b", "write a model's name"),
        ("BATCH_SIZE: 8", "BATCH_SIZE: 9999", "maxBatchSize: 9999 is too large"),
        ("region: cn", "region: mars", '"mars" is not a region'),
        ("ONNX_INTER_OP_THREADS: 1", "ONNX_INTER_OP_THREADS: 5000", "5000 is too large"),
        ("models:\n      general:", "model:\n      general:", "models: names no model"),
    ],
)
def test_a_value_that_cannot_be_followed_is_an_error(before: str, after: str, message: str):
    assert before in CLIP_ONLY
    with pytest.raises(ConfigError, match=message):
        translated(CLIP_ONLY.replace(before, after, 1))


@pytest.mark.parametrize("text", ["", "- a\n", "services: [\n", "a: &a [*a]\n"])
def test_what_is_no_mapping_is_refused_with_its_place(text: str):
    with pytest.raises(ManifestError, match=r"^server\.yaml"):
        translated(text)


def test_an_older_configuration_is_told_apart_from_a_manifest():
    assert single_server_in(CLIP_ONLY, "server.yaml") == translated(CLIP_ONLY)
    for text in ("kind: LumenModelService\nservices: {}", "[]", "a: [", ""):
        assert single_server_in(text, "server.yaml") is None


def test_a_translated_service_renders_with_its_older_settings():
    server = translated(CLIP_ONLY)
    (single,) = server.services
    context = RenderContext(backend=single.backend, mdns=server.mdns)
    children = render(single.service, default_pool(Accelerator.CUDA), context=context)

    config = ServerConfig.model_validate_json(children.config_map["data"]["server.json"])

    assert (config.onnx_providers, config.mdns) == (single.backend.onnx_providers, server.mdns)
