"""Which repository a name stands for, when a manifest names no source."""

import pytest

from lumen_manifest.default_repositories import PUBLISHED, default_uri
from lumen_manifest.spec.model_spec import ModelSpec


def stands_for(name: str, runtime: str = "torch", region: str = "other") -> str | None:
    source = {"region": region}
    return default_uri(
        ModelSpec.model_validate({"name": name, "runtime": runtime, "source": source})
    )


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("bioclip", "hf://imageomics/bioclip"),
        ("bioclip-2", "hf://imageomics/bioclip-2"),
        ("bioclip-2.5-vith14", "hf://imageomics/bioclip-2.5-vith14"),
        ("MobileCLIP2-S2", "hf://timm/MobileCLIP2-S2-OpenCLIP"),
        ("CN-CLIP_ViT-B-16", "hf://Lumilio-Photos/CN-CLIP_ViT-B-16"),
        ("MobileCLIP2-S0", "hf://timm/MobileCLIP2-S0-OpenCLIP"),
        ("MobileCLIP2-L-14", "hf://timm/MobileCLIP2-L-14-OpenCLIP"),
        ("MobileCLIP2-S2::dfndr2b", "hf://timm/MobileCLIP2-S2-OpenCLIP"),
        ("ViT-B-32::openai", "hf://timm/vit_base_patch32_clip_224.openai"),
        ("ViT-B-16-SigLIP2::webli", "hf://timm/ViT-B-16-SigLIP2"),
        ("nllb-clip-base-siglip::mrl", "hf://visheratin/nllb-siglip-mrl-base"),
        ("ViT-H-14-quickgelu::dfn5b", "hf://apple/DFN5B-CLIP-ViT-H-14"),
        ("jinaai/jina-clip-v2", "hf://jinaai/jina-clip-v2"),
        ("immich-app/ViT-B-32__openai", "hf://immich-app/ViT-B-32__openai"),
        ("ViT-B-32", None),
        ("ViT-B-32::no-such-tag", None),
        ("my-own", None),
    ],
)
def test_a_name_stands_for_the_repository_of_its_maker(name, uri):
    assert stands_for(name) == uri


@pytest.mark.parametrize("runtime", ["onnx", "rknn"])
@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("ViT-B-32::openai", "hf://immich-app/ViT-B-32__openai"),
        ("ViT-B-32::laion2b_s34b_b79k", "hf://immich-app/ViT-B-32__laion2b-s34b-b79k"),
        ("ViT-B-16-SigLIP2__webli", "hf://immich-app/ViT-B-16-SigLIP2__webli"),
        ("MobileCLIP2-S2", "hf://Lumilio-Photos/MobileCLIP2-S2"),
        ("bioclip-2", "hf://Lumilio-Photos/bioclip-2"),
        ("XLM-Roberta-Large-Vit-B-16Plus", "hf://immich-app/XLM-Roberta-Large-Vit-B-16Plus"),
        ("ViT-B-32::datacomp_xl_s13b_b90k", "hf://laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"),
    ],
)
def test_graphs_come_from_where_they_were_exported_already(name, uri, runtime):
    precision = {"precision": "fp16"} if runtime == "rknn" else {}
    spec = ModelSpec.model_validate({"name": name, "runtime": runtime, **precision})

    assert default_uri(spec) == uri


def test_in_china_the_names_that_are_published_there_and_repositories_as_they_are():
    at_modelscope = {name: stands_for(name, region="cn") for name in PUBLISHED}

    assert at_modelscope == {name: f"modelscope://LumilioPhotos/{name}" for name in PUBLISHED}
    assert stands_for("me/mine", region="cn") == "modelscope://me/mine"
    assert stands_for("ViT-B-32::openai", region="cn") is None
