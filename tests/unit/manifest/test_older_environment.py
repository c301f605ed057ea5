"""The older server's variables become the two services of its unified form."""

import pytest

from lumen_manifest.legacy.single_server import services_from_environment
from lumen_manifest.server_config import ConfigError
from lumen_manifest.spec.enums import Family, Precision, Runtime


def by_family(environment: dict[str, str]):
    server = services_from_environment(environment)
    return {single.service.spec.family: single for single in server.services}


def test_without_variables_there_are_the_two_default_services():
    services = by_family({})

    assert [(s.service.name, s.service.spec.model.name) for s in services.values()] == [
        ("clip", "MobileCLIP2-S2"),
        ("bioclip", "bioclip-2"),
    ]


def test_bioclip_takes_clips_backend_unless_it_has_its_own():
    both = by_family({"CLIP_BACKEND": "torch"})
    own = by_family({"CLIP_BACKEND": "torch", "BIOCLIP_BACKEND": "onnxrt"})

    runtimes = [s.service.spec.model.runtime for s in (*both.values(), *own.values())]

    assert runtimes == [Runtime.TORCH, Runtime.TORCH, Runtime.TORCH, Runtime.ONNX]


def test_device_batch_size_and_providers_are_per_family():
    services = by_family(
        {
            "BATCH_SIZE": "4",
            "CLIP_DEVICE": "cuda:0",
            "CLIP_MAX_BATCH_SIZE": "64",
            "BIOCLIP_ORT_PROVIDERS": "ROCMExecutionProvider, CPUExecutionProvider",
        }
    )

    clip, bioclip = (services[family].service.spec for family in (Family.CLIP, Family.BIOCLIP))
    assert (clip.pool, clip.server.max_batch_size) == ("cuda", 64)
    assert (bioclip.pool, bioclip.server.max_batch_size) == ("rocm", 4)
    assert services[Family.BIOCLIP].backend.onnx_providers == (
        "ROCMExecutionProvider",
        "CPUExecutionProvider",
    )


def test_model_files_in_one_folder_are_the_source():
    services = by_family(
        {"CLIP_ONNX_IMAGE": "/m/clip/visual.onnx", "CLIP_ONNX_TEXT": "/m/clip/textual.onnx"}
    )

    assert services[Family.CLIP].service.spec.model.source.uri == "file:///m/clip"


def test_model_files_in_two_folders_are_warned_about():
    server = services_from_environment(
        {"CLIP_ONNX_IMAGE": "/a/visual.onnx", "CLIP_ONNX_TEXT": "/b/textual.onnx"}
    )

    assert server.services[0].service.spec.model.source.uri is None
    assert server.warnings == (
        (
            "environment: CLIP_ONNX_IMAGE and CLIP_ONNX_TEXT lie in different folders and are "
            "ignored: put both into one folder"
        ),
    )


def test_the_npu_keeps_its_target_and_folder():
    services = by_family(
        {
            "CLIP_BACKEND": "rknn",
            "CLIP_RKNN_TARGET": "rk3566",
            "CLIP_RKNN_MODEL": "/m/clip/vision.rknn",
            "BIOCLIP_BACKEND": "onnx",
        }
    )

    clip = services[Family.CLIP]
    assert (clip.service.spec.pool, clip.rknn_target) == ("rk3588", "rk3566")
    assert clip.service.spec.model.precision is Precision.FP16
    assert clip.service.spec.model.source.uri == "file:///m/clip"


def test_mdns_variables_are_kept():
    mdns = services_from_environment(
        {
            "CLIP_MDNS_TYPE": "_lumen-clip._tcp.local.",
            "CLIP_MDNS_NAME": "attic",
            "CLIP_MDNS_UUID": "u-1",
            "CLIP_MDNS_STATUS": "ready",
            "CLIP_MDNS_VERSION": "2",
            "ADVERTISE_IP": "192.168.1.9",
        }
    ).mdns

    assert (mdns.type, mdns.name, mdns.uuid) == ("_lumen-clip._tcp.local.", "attic", "u-1")
    assert (mdns.status, mdns.version, mdns.advertise_ip) == ("ready", "2", "192.168.1.9")


def test_without_mdns_variables_nothing_is_announced():
    assert services_from_environment({"CLIP_BACKEND": "onnx"}).mdns is None


def test_a_variable_that_cannot_be_followed_is_named():
    server = services_from_environment({"CLIP_DEVICE": "cuda:1", "CLIP_FANCY": "1", "PATH": "/bin"})

    assert server.warnings == (
        "environment: CLIP_DEVICE: cuda:1: choose the card by CUDA_VISIBLE_DEVICES=1",
        "environment: CLIP_FANCY has no meaning here and is ignored",
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CLIP_BACKEND": "torsh"}, r'CLIP_BACKEND: "torsh" is not a runtime\. Did you mean torch'),
        ({"BATCH_SIZE": "many"}, r'BATCH_SIZE: "many" is not a whole number'),
        ({"BATCH_SIZE": "100000"}, "maxBatchSize: 100000 is too large"),
    ],
)
def test_a_wrong_variable_is_an_error(environment: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        services_from_environment(environment)
