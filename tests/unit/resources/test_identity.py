"""A manifest's model and family are those of its files, however they are written."""

import pytest
from published_models import BY_ROW, Published

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import ModelMismatchError
from lumen_resources.model.derive import derive
from lumen_resources.model.identity import (
    check_architecture,
    check_identity,
    check_size,
    families_of,
    known_as,
)
from lumen_resources.model.model_info import ModelInfo

# What people call the rows, beside the repository's own name with and without its owner.
NAMES = {
    "ViT-B-32": (
        "ViT-B-32",
        "vit-b-32",
        "ViT-B-32::laion2b_s34b_b79k",
        "ViT-B-32__laion2b-s34b-b79k",
    ),
    "ViT-B-32 openai": ("ViT-B-32::openai", "ViT-B-32-quickgelu", "openai/clip-vit-base-patch32"),
    "ViT-L-14 laion": ("ViT-L-14", "ViT-L-14::laion2b_s32b_b82k"),
    "DFN5B": ("ViT-H-14-378-quickgelu::dfn5b", "ViT-H-14-378", "apple/DFN5B-CLIP-ViT-H-14-378"),
    "MobileCLIP2-S2": ("MobileCLIP2-S2", "mobileclip2_s2", "apple/MobileCLIP2-S2"),
    "MobileCLIP2-S4": ("MobileCLIP2-S4",),
    "SigLIP": ("ViT-B-16-SigLIP::webli", "ViT-B-16-SigLIP"),
    "nllb-clip-siglip": ("nllb-clip-base-siglip::v1", "nllb-clip-base-siglip"),
    "xlm-roberta": ("xlm-roberta-base-ViT-B-32",),
    "PE-Core": ("PE-Core-B-16",),
    "BioCLIP 2": ("bioclip-2", "BioCLIP-2", "imageomics/bioclip-2"),
    "transformers' CLIP": ("openai/clip-vit-base-patch32", "clip-vit-base-patch32", "ViT-B-32"),
    "transformers' exports": ("openai/clip-vit-base-patch32", "Xenova/clip-vit-base-patch32"),
    "Immich's CLIP": ("ViT-B-32::openai", "immich-app/ViT-B-32__openai", "ViT-B-32"),
    "Immich's SigLIP": ("ViT-B-16-SigLIP::webli", "ViT-B-16-SigLIP__webli"),
    "Apple's MobileCLIP2": ("MobileCLIP2-S0", "MobileCLIP2-S0::dfndr2b"),
    "M-CLIP": ("XLM-Roberta-Large-Vit-B-32",),
    "clip-as-service": ("ViT-B-32::openai",),
}


def config_of(name: str, family: str) -> ServerConfig:
    model = {"name": name, "runtime": "torch"}
    return ServerConfig.model_validate({"service": "s", "family": family, "model": model})


def info_of(there: Published, called: str) -> ModelInfo:
    return derive(called, there.files(), there.read(), repository=there.repository)[0]


def spellings(row: str) -> set[str]:
    own = BY_ROW[row].repository
    names = {own, own.rpartition("/")[2], own.lower(), "mine", *NAMES.get(row, ())}
    return {name for name in names if not name.startswith(".")}


@pytest.mark.parametrize("row", BY_ROW)
def test_a_model_that_is_spelt_right_is_never_refused(row):
    info = info_of(BY_ROW[row], BY_ROW[row].repository)
    (family,) = families_of(info)

    for name in spellings(row):
        check_identity(info, config_of(name, family))
        assert known_as(name) or name not in NAMES.get(row, ()) or row == "M-CLIP", name


WRONG = [
    ("ViT-L-14 laion", "ViT-B-32"),
    ("ViT-L-14 laion", "ViT-L-14::openai"),
    ("ViT-L-14 laion", "ViT-L-14-336"),
    ("ViT-L-14 laion", "bioclip-2"),
    ("ViT-B-32", "ViT-B-16"),
    ("ViT-B-32", "ViT-B-32::openai"),
    ("ViT-B-32", "openai/clip-vit-large-patch14"),
    ("BioCLIP 2", "bioclip"),
    ("BioCLIP 2", "ViT-L-14"),
    ("MobileCLIP2-S2", "MobileCLIP2-S0"),
    ("Immich's CLIP", "ViT-B-16::openai"),
    ("Immich's SigLIP", "ViT-B-16-SigLIP-384::webli"),
    ("transformers' CLIP", "ViT-B-16"),
    ("SigLIP", "ViT-B-16"),
]


@pytest.mark.parametrize(("row", "name"), WRONG)
def test_the_files_of_another_model_are_refused_with_both_named(row, name):
    there = BY_ROW[row]
    info = info_of(there, there.repository)
    (family,) = families_of(info)

    with pytest.raises(ModelMismatchError, match="asks for ") as refused:
        check_identity(info, config_of(name, family))

    assert name in refused.value.message
    assert refused.value.reason == "ModelMismatch"


@pytest.mark.parametrize("row", BY_ROW)
@pytest.mark.parametrize("family", ["clip", "bioclip", "siglip"])
def test_files_of_another_family_are_refused(row, family):
    info = info_of(BY_ROW[row], BY_ROW[row].repository)
    if family in families_of(info):
        return

    with pytest.raises(ModelMismatchError, match=f"is of family {family}, and its files are a"):
        check_identity(info, config_of(BY_ROW[row].repository, family))


def test_a_guessed_family_contradicts_nobody():
    info = info_of(BY_ROW["SigLIP"], BY_ROW["SigLIP"].repository)
    guessed = config_of("mine", "clip").model_copy(update={"family_stated": False})

    check_identity(info, guessed)


def test_a_model_info_that_was_written_is_believed_by_its_name_and_numbers():
    document = {
        "name": "ViT-L-14",
        "version": "1.0.0",
        "description": "x",
        "model_type": "vision-language",
        "source": {"format": "custom", "repo_id": "somebody/model"},
        "runtimes": {"onnx": {"available": True}},
        "embedding_dim": 768,
    }
    info = ModelInfo.model_validate(document)

    check_identity(info, config_of("ViT-L-14::openai", "clip"))
    with pytest.raises(ModelMismatchError, match="the files are of ViT-L-14"):
        check_identity(info, config_of("ViT-B-32", "clip"))
    unnamed = ModelInfo.model_validate(document | {"name": "m"})
    with pytest.raises(ModelMismatchError, match="give vectors of 768, and that model has 512"):
        check_identity(unnamed, config_of("ViT-B-32", "clip"))


def test_pictures_and_patches_tell_models_of_one_length_apart():
    with pytest.raises(ModelMismatchError, match="edge of 336, and that model has 224"):
        check_size(config_of("ViT-L-14", "clip"), 336)
    base_16 = {"model_cfg": {"vision_cfg": {"patch_size": 16}, "text_cfg": {}, "embed_dim": 512}}
    for config in (base_16, {"model_type": "clip", "vision_config": {"patch_size": 16}}):
        check_architecture(config_of("ViT-B-16", "clip"), config)
        check_architecture(config_of("mine", "clip"), config)
        with pytest.raises(ModelMismatchError, match="patches with an edge of 16"):
            check_architecture(config_of("ViT-B-32", "clip"), config)
