"""What a repository without a model_info.json is found to be, from its own files."""

from dataclasses import asdict
from typing import Any

import pytest
from model_sources import an_info
from published_models import BY_ROW, Published, without

from lumen_manifest.spec.enums import Precision, Runtime, Tower
from lumen_resources.errors import FileMissingError, RuntimeNotSupportedError
from lumen_resources.model.choice import ComputeChoice, choose
from lumen_resources.model.derive import derive
from lumen_resources.model.layouts import PREPROCESSOR, ChosenFiles
from lumen_resources.model.model_info import ModelInfo, parse
from lumen_resources.model.preprocessing import preprocess_of
from lumen_resources.model.text_rules import TokenizerFiles, text_rule_of
from lumen_terms.modality import Modality

TEXTUAL, VISUAL = (
    [path for path in BY_ROW["Immich's SigLIP"].files() if path.startswith(f"{tower}/")]
    for tower in ("textual", "visual")
)
TORCH, ONNX, RKNN = Runtime.TORCH, Runtime.ONNX, Runtime.RKNN
OPENAI, HALF, PLAIN = 0.4815, 0.5, 0.0


def derived(there: Published) -> tuple[ModelInfo, tuple[str, ...]]:
    name = there.repository.rpartition("/")[2]
    return derive(name, there.files(), there.read(), repository=there.repository)


def chosen(there: Published, runtime: Runtime, precision: Precision = Precision.FP32) -> Any:
    how = ComputeChoice(runtime, precision, "rk3588")
    return choose(there.files(), derived(there)[0], how)


# Each row of what people run: kind, dimension, pictures (size, way, filter, first mean), texts
# (tokens, cleaning, frame, pad, language), scores.
CLIP = ("clip", "lower", "clip", 0, "")
EXPECTED: dict[str, tuple[str, int, tuple[int, str, str, float], tuple[Any, ...], str]] = {
    "ViT-B-32": ("clip", 512, (224, "shortest", "bicubic", OPENAI), (77, *CLIP[1:]), "softmax"),
    "ViT-B-32 openai": (
        "clip",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, *CLIP[1:]),
        "softmax",
    ),
    "ViT-L-14 laion": ("clip", 768, (224, "shortest", "bicubic", HALF), (77, *CLIP[1:]), "softmax"),
    "DFN5B": ("clip", 1024, (378, "squash", "bicubic", OPENAI), (77, *CLIP[1:]), "softmax"),
    "MobileCLIP2-S2": (
        "clip",
        512,
        (256, "shortest", "bilinear", PLAIN),
        (77, *CLIP[1:]),
        "softmax",
    ),
    "MobileCLIP2-S4": (
        "clip",
        768,
        (256, "shortest", "bilinear", OPENAI),
        (77, *CLIP[1:]),
        "softmax",
    ),
    "SigLIP": (
        "siglip",
        768,
        (224, "squash", "bicubic", HALF),
        (64, "canonicalize", "own", 1, ""),
        "sigmoid",
    ),
    "SigLIP 2": (
        "siglip",
        1152,
        (378, "squash", "bicubic", HALF),
        (64, "canonicalize", "own", 0, ""),
        "sigmoid",
    ),
    "nllb-clip-siglip": (
        "siglip",
        768,
        (384, "squash", "bicubic", HALF),
        (77, "whitespace", "own", 1, "eng_Latn"),
        "sigmoid",
    ),
    "xlm-roberta": (
        "clip",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, "whitespace", "own", 1, ""),
        "softmax",
    ),
    "PE-Core": ("clip", 1024, (224, "squash", "bilinear", HALF), (32, *CLIP[1:]), "softmax"),
    "MetaCLIP 2 worldwide": (
        "clip",
        1024,
        (224, "shortest", "bicubic", OPENAI),
        (77, "whitespace", "own", 1, ""),
        "softmax",
    ),
    "CLIPA": (
        "clip",
        768,
        (224, "squash", "bilinear", 0.485),
        (32, "whitespace", "own", 0, ""),
        "softmax",
    ),
    "BioCLIP 2": (
        "bioclip",
        768,
        (224, "shortest", "bicubic", OPENAI),
        (77, *CLIP[1:]),
        "softmax",
    ),
    "Chinese CLIP": (
        "chinese_clip",
        512,
        (224, "squash", "bicubic", OPENAI),
        (52, "none", "own", 0, ""),
        "softmax",
    ),
    "transformers' CLIP": (
        "clip",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, "none", "own", 49407, ""),
        "softmax",
    ),
    "transformers' SigLIP": (
        "siglip",
        768,
        (224, "squash", "bicubic", HALF),
        (64, "canonicalize", "own", 1, ""),
        "sigmoid",
    ),
    "transformers' SigLIP 2": (
        "siglip",
        1152,
        (384, "squash", "bicubic", HALF),
        (64, "none", "own", 0, ""),
        "sigmoid",
    ),
    "transformers' exports": (
        "clip",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, "none", "own", 49407, ""),
        "softmax",
    ),
    "Immich's CLIP": (
        "clip",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, *CLIP[1:]),
        "softmax",
    ),
    "Immich's SigLIP": (
        "siglip",
        768,
        (224, "squash", "bicubic", HALF),
        (64, "canonicalize", "own", 1, ""),
        "sigmoid",
    ),
    "Immich's M-CLIP": (
        "clip",
        768,
        (224, "shortest", "bicubic", OPENAI),
        (77, "none", "own", 0, ""),
        "softmax",
    ),
    "Apple's MobileCLIP2": (
        "clip",
        512,
        (256, "shortest", "bilinear", PLAIN),
        (77, *CLIP[1:]),
        "softmax",
    ),
    "M-CLIP": (
        "M-CLIP",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, "none", "own", 1, ""),
        "softmax",
    ),
    "clip-as-service": (
        "clip",
        512,
        (224, "shortest", "bicubic", OPENAI),
        (77, *CLIP[1:]),
        "softmax",
    ),
}


@pytest.mark.parametrize("row", BY_ROW)
def test_every_model_that_people_run_is_known_by_its_own_files(row):
    there = BY_ROW[row]
    kind, dim, pictures, texts, scores = EXPECTED[row]
    info, _ = derived(there)
    runtime = next(r for r in Runtime if r in info.runtimes)
    files = chosen(there, runtime)
    contents = {path: there.documents.get(path) for path in (files.config, files.preprocessor)}
    preprocess = preprocess_of(info, contents[files.config], contents[files.preprocessor])
    text = text_rule_of(info, contents[files.config], TokenizerFiles())

    assert (info.model_type, info.embedding_dim) == (kind, dim)
    assert (
        preprocess.size,
        preprocess.resize_mode,
        preprocess.interpolation,
        round(preprocess.mean[0], 4),
    ) == pictures
    said = asdict(text)
    assert said.pop("strip_sep") is (row == "CLIPA")
    assert tuple(said.values()) == texts
    assert info.lumen.score is not None
    assert info.lumen.score.kind == scores
    assert info.lumen.towers == ((Tower.TEXT,) if row == "M-CLIP" else None)


@pytest.mark.parametrize("row", BY_ROW)
def test_what_was_derived_is_a_model_info_that_says_the_same_when_it_is_read_again(row):
    info, sentences = derived(BY_ROW[row])
    content = info.model_dump_json(exclude_none=True).encode()

    assert parse(content, strict=True) == (info, ())
    assert sentences[0].startswith("The repository has no model_info.json: it was read as")
    assert all(sentence.isprintable() and sentence.endswith(".") for sentence in sentences)


FILES = {
    "ViT-B-32": (TORCH, "open_clip_model.safetensors", "open_clip_config.json", "tokenizer.json"),
    "DFN5B": (TORCH, "open_clip_pytorch_model.bin", "open_clip_config.json", "tokenizer.json"),
    "MobileCLIP2-S2": (TORCH, "open_clip_model.safetensors", "open_clip_config.json", None),
    "Chinese CLIP": (TORCH, "pytorch_model.bin", "config.json", "tokenizer.json"),
    "transformers' CLIP": (TORCH, "model.safetensors", "config.json", "tokenizer.json"),
    "transformers' SigLIP 2": (
        TORCH,
        "model.safetensors.index.json",
        "config.json",
        "tokenizer.json",
    ),
    "Apple's MobileCLIP2": (TORCH, "mobileclip2_s0.pt", "config.json", None),
    "M-CLIP": (TORCH, "pytorch_model.bin", "config.json", "tokenizer.json"),
}


def test_a_model_is_known_by_what_the_manifest_calls_it_too():
    there = BY_ROW["clip-as-service"]

    info, _ = derive("ViT-B-32::openai", there.files(), there.read(), repository="me/mirror")

    assert (info.name, info.source.repo_id, info.embedding_dim) == (
        "ViT-B-32::openai",
        "me/mirror",
        512,
    )


@pytest.mark.parametrize("row", FILES)
def test_weights_go_with_the_configuration_that_they_belong_to(row):
    runtime, *expected = FILES[row]
    files = chosen(BY_ROW[row], runtime)

    assert [files.weights, files.config, files.tokenizer] == expected
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert list(files.shards) == (shards if row == "transformers' SigLIP 2" else [])


@pytest.mark.parametrize(
    ("there", "weights", "config"),
    [
        (["open_clip_config.json", "model.safetensors", "open_clip_pytorch_model.bin"], 1, 0),
        (["open_clip_config.json", "open_clip_model.safetensors", "model.safetensors"], 1, 0),
        (["open_clip_config.json", "config.json", "model.safetensors"], 2, 1),
        (["config.json", "open_clip_pytorch_model.bin", "pytorch_model.bin"], 2, 0),
        (["config.json", "open_clip_pytorch_model.bin"], 1, 0),
        (["config.json", "model.safetensors.index.json", "open_clip_pytorch_model.bin"], 1, 0),
    ],
)
def test_of_two_models_in_one_repository_weights_and_configuration_are_the_same_one(
    there, weights, config
):
    available = {*there, "model-00001-of-00001.safetensors"}
    files = choose(available, an_info("torch"), ComputeChoice(TORCH, Precision.FP32))

    assert (files.weights, files.config) == (there[weights], there[config])


@pytest.mark.parametrize(
    ("there", "towers", "modality"),
    [
        (without("Immich's SigLIP", *TEXTUAL), (Tower.VISION,), Modality.IMAGE),
        (without("Immich's SigLIP", *VISUAL), (Tower.TEXT,), Modality.TEXT),
    ],
)
def test_a_repository_of_one_tower_is_what_it_is(there, towers, modality):
    info, sentences = derived(there)
    files = chosen(there, ONNX)

    assert info.lumen.towers == towers
    assert files.modalities == {modality}
    assert any("alone" in sentence for sentence in sentences)
    with pytest.raises(RuntimeNotSupportedError, match="has no"):
        choose(there.files(), info, ComputeChoice(ONNX, Precision.FP32, towers=tuple(Tower)))


def test_shards_are_all_there_or_the_one_that_lacks_is_named():
    there = without("transformers' SigLIP 2", "model-00001-of-00002.safetensors")

    with pytest.raises(FileMissingError) as caught:
        derived(there)

    assert caught.value.file == "model-00001-of-00002.safetensors"


GRAPHS = {
    ("Immich's CLIP", ONNX, Precision.FP32): ("visual/model.onnx", "textual/model.onnx"),
    ("Immich's CLIP", RKNN, Precision.FP16): (
        "visual/rknpu/rk3588/model.rknn",
        "textual/rknpu/rk3588/model.rknn",
    ),
    ("transformers' exports", ONNX, Precision.FP32): (
        "onnx/vision_model.onnx",
        "onnx/text_model.onnx",
    ),
    ("transformers' exports", ONNX, Precision.FP16): (
        "onnx/vision_model_fp16.onnx",
        "onnx/text_model_fp16.onnx",
    ),
    ("transformers' exports", ONNX, Precision.INT8): (
        "onnx/vision_model_quantized.onnx",
        "onnx/text_model_quantized.onnx",
    ),
    ("clip-as-service", ONNX, Precision.FP32): ("visual.onnx", "textual.onnx"),
}


@pytest.mark.parametrize(("row", "runtime", "precision"), GRAPHS)
def test_graphs_are_found_where_their_publishers_keep_them(row, runtime, precision):
    files: ChosenFiles = chosen(BY_ROW[row], runtime, precision)

    assert (files.vision, files.text) == GRAPHS[row, runtime, precision]
    if row.startswith("Immich"):
        assert files.preprocessor == "visual/preprocess_cfg.json"
        assert files.tokenizer == "textual/tokenizer.json"
        assert "textual/tokenizer_config.json" in files.companions
    if row.startswith("transformers"):
        assert files.preprocessor == PREPROCESSOR
