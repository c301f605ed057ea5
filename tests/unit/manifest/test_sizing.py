"""What a server sets aside by default: by the model's name, its precision and its runtime."""

import re
from pathlib import Path

import pytest
from rendered_pods import container

from lumen_manifest.node_pool import default_pool
from lumen_manifest.render.sizing import memory_mib
from lumen_manifest.spec.enums import Accelerator
from lumen_manifest.spec.model_spec import ModelSpec

NOBODYS = "my-own-model"
PAGE = (Path(__file__).parents[3] / "docs" / "sizing.md").read_text()


def memory(name, runtime="onnx", **model):
    document = {"name": name, "runtime": runtime, **model}
    return memory_mib(ModelSpec.model_validate(document))


def requests(children, name="server"):
    return container(children, name)["resources"].get("requests", {})


# Source: docs/sizing.md, what a server held in MiB, without the pages of files that the system may
# take back.
@pytest.mark.parametrize(
    ("held", "model"),
    [
        (712, {"name": "ViT-B-32::openai"}),
        (741, {"name": "ViT-B-32::openai", "engine": "openvino"}),
        (394, {"name": "ViT-B-32::openai", "precision": "int8"}),
        (899, {"name": NOBODYS, "runtime": "torch"}),
    ],
)
def test_the_default_is_what_a_server_was_seen_to_hold_and_little_more(held, model):
    assert held <= memory(**model) <= held * 1.35


@pytest.mark.parametrize(
    ("mib", "name"),
    # Source: the sizes of exported files in fp32, docs/export.md.
    [(381, "MobileCLIP2-S2"), (1635, "ViT-L-14::openai"), (1433, "ViT-B-16-SigLIP2::webli")],
)
def test_a_known_model_counts_with_the_size_of_its_files(mib, name):
    assert mib <= memory(name) - memory(NOBODYS) <= mib + 64


@pytest.mark.parametrize(
    ("spelling", "model"),
    [
        ("ViT-B-32__openai", "ViT-B-32"),
        ("immich-app/ViT-B-32__openai", "ViT-B-32"),
        ("timm/vit_base_patch32_clip_224.openai", "ViT-B-32"),
        ("openai/clip-vit-base-patch32", "ViT-B-32"),
        ("vit_b_32", "ViT-B-32"),
        ("imageomics/bioclip", "ViT-B-16"),
        ("bioclip-2", "ViT-L-14"),
        ("BioCLIP-2.5-ViTH14", "ViT-H-14"),
        ("Lumilio-Photos/MobileCLIP2-S4", "MobileCLIP2-S4"),
    ],
)
def test_a_model_is_known_however_its_name_is_written(spelling, model):
    assert memory(spelling) == memory(model) > memory(NOBODYS)


def test_precision_runtime_and_towers_change_what_the_weights_take():
    name = "ViT-L-14"
    both, pictures = memory(name), memory(name, towers=["vision"])

    assert memory(name, precision="fp16") == both  # a CPU holds it in fp32
    assert memory(name, precision="int8") < both / 2
    assert memory(name, "rknn", precision="fp16") < both * 0.6
    assert memory(name, "torch") > both
    assert memory(name, towers=["text"]) < pictures < both
    assert memory(name, towers=["vision", "text"]) == both


def test_a_model_that_nobody_knows_counts_with_the_server_alone(rendered):
    assert memory(NOBODYS) == 192
    model = {"name": NOBODYS, "runtime": "onnx"}
    assert requests(rendered(model=model)) == {"cpu": "250m", "memory": "192Mi"}


def test_a_quantity_has_the_form_that_the_api_server_keeps(rendered):
    model = {"name": "ViT-B-16-SigLIP"}

    assert memory(**model) == 1024
    assert requests(rendered(model=model))["memory"] == "1Gi"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"requests": {"cpu": "2"}}, {"cpu": "2", "memory": "576Mi"}),
        ({"requests": {"memory": "3Gi"}}, {"cpu": "250m", "memory": "3Gi"}),
        ({"requests": {"cpu": "2", "memory": "3Gi"}}, {"cpu": "2", "memory": "3Gi"}),
        # Kubernetes takes a limit for the request; a request above it would be refused.
        ({"limits": {"memory": "256Mi"}}, {"cpu": "250m"}),
        ({"limits": {"cpu": "1", "memory": "256Mi"}}, {}),
        ({"requests": {"ephemeral-storage": "1Gi"}}, {
            "cpu": "250m", "memory": "576Mi", "ephemeral-storage": "1Gi"}),
    ],
)  # fmt: skip
def test_what_the_service_says_wins(rendered, asked, expected):
    children = rendered(resources=asked)

    assert requests(children) == expected
    assert container(children, "server")["resources"].get("limits", {}) == asked.get("limits", {})


def test_only_the_server_sets_something_aside_and_nothing_is_limited(rendered):
    children = rendered(labelSets=[{"name": "a"}])

    assert requests(children).keys() == {"cpu", "memory"}
    for name in ("resources", "prepare"):
        assert container(children, name)["resources"] == {}
    assert "limits" not in container(children, "server")["resources"]


def test_the_pools_device_stands_beside_it(rendered):
    resources = container(rendered(default_pool(Accelerator.CUDA)), "server")["resources"]

    assert resources == {
        "limits": {"nvidia.com/gpu": "1"},
        "requests": {"nvidia.com/gpu": "1", "cpu": "250m", "memory": "576Mi"},
    }


def test_the_page_says_what_is_asked_for(rendered):
    rows = re.findall(
        r"^\| (\S+) \| (\w+) \| ((?:fp|int)\d+) \| [^|]+ \| (\w+) \|$", PAGE, re.MULTILINE
    )

    assert len(rows) > 6
    for name, runtime, precision, asked in rows:
        pool = default_pool(Accelerator.RK3588 if runtime == "rknn" else Accelerator.CPU)
        model = {"name": name, "runtime": runtime, "precision": precision}
        assert requests(rendered(pool, model=model))["memory"] == asked, name
