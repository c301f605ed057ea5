"""`lumen export`: what it takes for a source, and what it refuses before anything is fetched."""

import sys

import pytest
from click.testing import CliRunner

from lumen_cli.main import cli
from lumen_cli.resources.export import _config, _products
from lumen_manifest.spec.enums import Family, Precision, Runtime

FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
ONNX, RKNN = Runtime.ONNX, Runtime.RKNN


def lumen(*words):
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize("words", [("export",), ("resources", "export")])
def test_without_its_packages_it_says_what_to_install(words, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.delitem(sys.modules, "lumen_export.graphs", raising=False)
    monkeypatch.delitem(sys.modules, "lumen_export.run", raising=False)

    done = lumen(*words, "ViT-B-32::openai", "--out", str(tmp_path / "out"))

    assert done.exit_code == 2
    assert "pip install 'lumen-serve[export]'" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [("--precision", "fp32,fp8", "fp32, fp16, bf16, int8"), ("--to", "tflite", "onnx, rknn")],
)
def test_an_unknown_word_is_answered_with_the_known_ones(option, value, known, tmp_path):
    done = lumen("export", "x", "--out", str(tmp_path / "out"), option, value)

    assert done.exit_code == 2
    assert f"'{value.rpartition(',')[2]}' is none of {known}." in done.output


@pytest.mark.parametrize(
    ("targets", "asked", "made"),
    [
        ((ONNX,), (), ((FP32,), ())),
        ((ONNX,), (INT8, FP16), ((INT8, FP16), ())),
        ((ONNX, RKNN), (), ((FP32,), (FP16,))),
        ((ONNX, RKNN), (FP32, FP16), ((FP32, FP16), (FP16,))),
        ((RKNN,), (INT8,), ((), (INT8,))),
    ],
)
def test_precisions_go_to_the_runtimes_that_compute_in_them(targets, asked, made):
    assert _products(targets, asked) == made


def test_an_npu_is_not_asked_for_fp32(capsys):
    with pytest.raises(SystemExit) as ended:
        _products((RKNN,), (FP32,))

    assert ended.value.code == 2
    assert "fp16 or int8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "name", "uri", "family"),
    [
        ("ViT-B-32::openai", "ViT-B-32::openai", None, Family.CLIP),
        ("imageomics/bioclip-2", "imageomics/bioclip-2", None, Family.BIOCLIP),
        ("hf://timm/MobileCLIP2-S2-OpenCLIP", "MobileCLIP2-S2-OpenCLIP", "same", Family.CLIP),
        ("hf://imageomics/bioclip@main", "bioclip", "same", Family.BIOCLIP),
        ("https://models.example.org/a%20b/", "a-20b", "same", Family.CLIP),
    ],
)
def test_a_source_is_a_name_or_a_uri(source, name, uri, family):
    model = _config(source, None)

    assert (model.model.name, model.family) == (name, family)
    assert model.model.source.uri == (source if uri else None)


def test_a_source_may_be_a_folder(tmp_path):
    folder = tmp_path / "my model (2)"
    folder.mkdir()

    model = _config(str(folder), None).model

    assert (model.name, model.source.uri) == ("my-model-2", folder.as_uri())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("no such/model name!", "write a model's name such as"),
        ("./nothing/here", "is not a folder"),
        ("/nothing/here", "is not a folder"),
    ],
)
def test_a_source_that_is_neither_ends_with_a_sentence(source, said, capsys):
    with pytest.raises(SystemExit) as ended:
        _config(source, None)

    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert source in error
    assert said in error
