"""Which files make up a model, in every layout, and what its vectors mean."""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from model_sources import an_info

from lumen_manifest.spec.enums import Precision, PreprocessPreset, Runtime
from lumen_resources.errors import (
    FileMissingError,
    InvalidConfig,
    ModelInfoError,
    RuntimeNotSupportedError,
)
from lumen_resources.model.choice import ComputeChoice, choose, runtime_files
from lumen_resources.model.layouts import (
    ChosenFiles,
    Preprocess,
    folder_name,
    model_folder,
)
from lumen_resources.model.model_info import FileDigest, ModelInfo, Origin, SourceFormat
from lumen_resources.model.preprocessing import CLIP_MEAN, CLIP_STD, preprocess_of, under_preset
from lumen_resources.model.text_rules import context_length_of
from lumen_resources.model.traits import embedding_space

FP32, FP16, BF16 = Precision.FP32, Precision.FP16, Precision.BF16


def chosen(*files: str, runtime: Runtime = Runtime.ONNX, precision: Precision = FP32):
    return choose(set(files), an_info(runtime), ComputeChoice(runtime, precision, "rk3588"))


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ("onnx/vision.fp32.onnx", "onnx/text.fp32.onnx"),
        ("onnx/vision.onnx", "onnx/text.onnx"),
        ("onnx/image_encoder.onnx", "onnx/text_encoder.onnx"),
        ("image_encoder.onnx", "text_encoder.onnx"),
        ("onnx/visual.onnx", "onnx/textual.onnx"),
        ("visual.onnx", "textual.onnx"),
    ],
)
def test_every_pair_of_onnx_names_is_found_with_the_weights_beside_it(vision, text):
    files = chosen(vision, text, f"{vision}.data", f"{text}_data", "other.data")

    assert (vision, text) == (files.vision, files.text)
    assert set(files.external_data) == {f"{vision}.data", f"{text}_data"}
    assert files.under(Path("/m")).vision == Path("/m") / vision
    assert files.under(Path("/m")).weights is None


def test_each_precision_takes_its_own_files_and_bf16_those_of_fp32():
    names = [f".{precision}" for precision in ("fp32", "fp16", "int8")]
    there = [f"onnx/{tower}{name}.onnx" for tower in ("vision", "text") for name in ("", *names)]

    assert chosen(*there, precision=FP16).text == "onnx/text.fp16.onnx"
    assert chosen(*there, precision=Precision.INT8).text == "onnx/text.int8.onnx"
    assert chosen(*there, precision=BF16).text == "onnx/text.fp32.onnx"


@pytest.mark.parametrize(
    ("there", "precision", "missing"),
    [
        # Names without a precision do not stand for a reduced one.
        (("onnx/vision.onnx", "onnx/text.onnx"), FP16, "onnx/vision.fp16.onnx"),
        (("onnx/vision.fp32.onnx",), FP32, "onnx/text.fp32.onnx"),
    ],
)
def test_what_is_missing_of_a_pair_is_named(there, precision, missing):
    with pytest.raises(FileMissingError) as caught:
        chosen(*there, precision=precision)

    assert caught.value.file == missing
    assert f"files there: {', '.join(sorted(there))}" in caught.value.message


def test_safetensors_are_preferred_and_older_checkpoints_found():
    torch = Runtime.TORCH

    both = chosen("open_clip_pytorch_model.bin", "model.safetensors", runtime=torch)
    assert both.weights == "model.safetensors"
    assert chosen("torch/model.pt", runtime=torch).weights == "torch/model.pt"


def test_rknn_files_are_those_of_the_target():
    files = ("rknn/rk3588/vision.fp16.rknn", "rknn/rk3588/text.fp16.rknn")

    found = chosen(*files, runtime=Runtime.RKNN, precision=FP16)
    assert files == (found.vision, found.text)
    with pytest.raises(FileMissingError):
        choose(set(files), an_info("rknn"), ComputeChoice(Runtime.RKNN, FP16, "rk3566"))


def test_configuration_tokenizer_and_companions_are_found_also_beside_the_runtime():
    graphs = ("onnx/vision.onnx", "onnx/text.onnx")
    beside = ("onnx/config.json", "onnx/tokenizer.json", "onnx/preprocessor_config.json")
    files = chosen(*graphs, *beside)
    assert (files.config, files.tokenizer, files.preprocessor) == beside
    assert set(files.all_files()) == {*graphs, *beside}

    above = ("open_clip_config.json", "tokenizer.json", "preprocessor_config.json")
    newer = chosen(*graphs, *above, "config.json", "vocab.txt")
    assert (newer.config, newer.tokenizer, newer.preprocessor) == above
    assert newer.companions == ("vocab.txt",)


def test_a_runtime_that_is_not_offered_is_refused():
    info = an_info("torch")

    with pytest.raises(RuntimeNotSupportedError, match="torch"):
        choose({"visual.onnx", "textual.onnx"}, info, ComputeChoice(Runtime.ONNX, FP32))


def test_who_has_the_weights_alone_is_told_how_the_other_files_are_made():
    info = an_info("torch")
    named = info.model_copy(
        update={"source": Origin(format=SourceFormat.HUGGINGFACE, repo_id="laion/CLIP-ViT-B-32")}
    )
    hostile = info.model_copy(
        update={"source": Origin(format=SourceFormat.HUGGINGFACE, repo_id="x; rm -rf ~")}
    )

    def remedy(info, runtime=Runtime.ONNX):
        with pytest.raises(RuntimeNotSupportedError) as refused:
            choose({"model.safetensors"}, info, ComputeChoice(runtime, FP32))
        return refused.value.remedy

    assert "`lumen export laion/CLIP-ViT-B-32 --to onnx --out MADE`" in remedy(named)
    assert "`lumen export laion/CLIP-ViT-B-32 --to rknn --out MADE`" in remedy(named, Runtime.RKNN)
    assert "`lumen export FOLDER --to onnx --out MADE`" in remedy(hostile)
    assert "lumen export" not in remedy(an_info("rknn"))


def test_a_precision_without_files_is_made_from_the_weights_that_are_there():
    there = {"onnx/vision.fp32.onnx", "onnx/text.fp32.onnx"}

    def remedy(files):
        with pytest.raises(FileMissingError) as refused:
            choose(files, an_info("onnx"), ComputeChoice(Runtime.ONNX, Precision.INT8))
        return refused.value.remedy

    assert "--to onnx --precision int8 --out MADE`" in remedy({*there, "model.safetensors"})
    assert "lumen export" not in remedy(there)


def test_the_cache_may_already_end_in_models(tmp_path):
    assert model_folder(tmp_path, "m") == tmp_path / "models" / "m"
    assert model_folder(tmp_path / "models", "m") == tmp_path / "models" / "m"
    (tmp_path / "m" / "onnx").mkdir(parents=True)
    assert model_folder(tmp_path, "m") == tmp_path / "m"


def test_a_model_name_becomes_one_folder_or_is_refused():
    assert folder_name("ViT-B-32::laion2b_s34b") == "ViT-B-32__laion2b_s34b"
    for hostile in ("..", "", ".hidden", "a b", "a\\b", "../../x"):
        with pytest.raises(InvalidConfig):
            folder_name(hostile)


def test_preprocessing_is_declared_then_published_then_clips():
    published = {
        "model_cfg": {"vision_cfg": {"image_size": 256}},
        "preprocess_cfg": {"mean": 0, "std": 1.0, "interpolation": "bilinear", "mode": "RGB"},
    }

    assert preprocess_of(an_info(), None) == Preprocess(
        224, "shortest", "bicubic", CLIP_MEAN, CLIP_STD
    )
    assert preprocess_of(an_info(), published) == Preprocess(
        256, "shortest", "bilinear", (0, 0, 0), (1, 1, 1)
    )
    declared = an_info(preprocess={"size": 64, "resize_mode": "squash"})
    assert preprocess_of(declared, published).size == 64
    assert preprocess_of(declared, published).resize_mode == "squash"


@pytest.mark.parametrize(
    "cfg",
    [
        {"size": [224, 336]},
        {"resize_mode": "longest"},
        {"interpolation": "nearest"},
        {"mode": "L"},
        {"std": [0, 0, 0]},
        {"size": 0},
    ],
)
def test_preprocessing_that_nobody_computes_is_refused(cfg):
    with pytest.raises(ModelInfoError):
        preprocess_of(an_info(), {"preprocess_cfg": cfg})


def test_the_context_length_is_declared_configured_fixed_or_77():
    config = {"model_cfg": {"text_cfg": {"context_length": 52}}}

    assert context_length_of(an_info(), None) == 77
    assert context_length_of(an_info(), None, 24) == 24
    assert context_length_of(an_info(), config, 24) == 52
    assert context_length_of(an_info(context_length=12), config) == 12
    with pytest.raises(ModelInfoError):
        context_length_of(an_info(), {"model_cfg": {"text_cfg": {"context_length": "x"}}})


def digest(letter: str) -> FileDigest:
    return FileDigest(size=1, sha256=letter * 64)


FILES = ChosenFiles(vision="v.onnx", text="t.onnx", tokenizer="tokenizer.json")
DIGESTS = {"v.onnx": digest("a"), "t.onnx": digest("b"), "tokenizer.json": digest("c")}
PREPROCESS = Preprocess(224, "shortest", "bicubic", CLIP_MEAN, CLIP_STD)


def test_the_space_is_the_digest_of_the_four_parts_as_canonical_json():
    info = an_info(checkpoint_sha256="d" * 64)
    written = (
        '{"checkpoint":"' + "d" * 64 + '","dimension":512,"preprocessing":{"interpolation":'
        '"bicubic","mean":[0.48145466,0.4578275,0.40821073],"resize_mode":"shortest","size":224,'
        '"std":[0.26862954,0.26130258,0.27577711]},"tokenizer":"' + "c" * 64 + '"}'
    )

    space = embedding_space(info, FILES, DIGESTS, PREPROCESS, 512)

    assert hashlib.sha256(written.encode()).hexdigest() == space
    assert json.loads(written)["dimension"] == 512


def a_space(
    info: ModelInfo, files: ChosenFiles = FILES, digests: dict[str, FileDigest] = DIGESTS
) -> str:
    return embedding_space(info, files, digests, PREPROCESS, 512)


def test_runtimes_of_one_checkpoint_share_its_space():
    info = an_info("onnx", "torch", checkpoint_sha256="d" * 64)
    weights = ChosenFiles(weights="model.safetensors", tokenizer="tokenizer.json")
    digests = {"model.safetensors": digest("e"), "tokenizer.json": digest("c")}

    assert a_space(info) == a_space(info, weights, digests)


def test_another_tokenizer_weight_preprocessing_or_dimension_is_another_space():
    base = a_space(an_info())
    squashed = Preprocess(224, "squash", "bicubic", CLIP_MEAN, CLIP_STD)

    others = [a_space(an_info(), digests={**DIGESTS, path: digest("f")}) for path in DIGESTS]
    others.append(embedding_space(an_info(), FILES, DIGESTS, squashed, 512))
    others.append(embedding_space(an_info(), FILES, DIGESTS, PREPROCESS, 513))
    alike = Preprocess(224, "squash", "bilinear", CLIP_MEAN, CLIP_STD)
    others.append(embedding_space(an_info(), FILES, DIGESTS, alike, 512))
    preset = under_preset(PREPROCESS, PreprocessPreset.PYBIOCLIP)
    others.append(embedding_space(an_info(), FILES, DIGESTS, preset, 512))
    assert len({base, *others}) == 8


def test_a_preset_is_the_manifests_and_by_default_the_models_own():
    assert under_preset(PREPROCESS, None) == PREPROCESS
    assert under_preset(PREPROCESS, PreprocessPreset.MODEL) == PREPROCESS
    with pytest.raises(InvalidConfig, match="the model takes 336"):
        under_preset(replace(PREPROCESS, size=336), PreprocessPreset.PYBIOCLIP)


def test_a_file_that_only_moves_keeps_its_space():
    moved = ChosenFiles(vision="x/v.onnx", text="x/t.onnx", tokenizer="tokenizer.json")
    digests = {f"x/{p}" if p.endswith("onnx") else p: d for p, d in DIGESTS.items()}

    assert a_space(an_info()) == a_space(an_info(), moved, digests)


def test_a_listing_of_graphs_for_thousands_of_chips_is_read_at_once():
    graphs = {f"rknn/chip{number}/vision.fp16.rknn": 1 for number in range(10_000)}

    began_at = time.process_time()
    assert runtime_files(graphs) == {"rknn": sorted(graphs)}
    # Compared one with another they would take half a minute.
    assert time.process_time() - began_at < 5
