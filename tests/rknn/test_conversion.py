"""Real conversions by Rockchip's toolkit, and its simulator beside onnxruntime."""

import subprocess
from dataclasses import replace

import numpy as np
import onnx
import pytest
import rknn_files
import tiny_models
import tiny_vit

from lumen_export.errors import ExportRefused
from lumen_export.rknn.conversion import RknnConversion, convert
from lumen_export.rknn.toolkit import RknnToolkit, make_toolkit, toolkit_in
from lumen_manifest.spec.enums import Precision
from lumen_resources.model.rknn_file import read_rknn

RNG = np.random.default_rng(0)
PICTURES = np.stack(
    [np.asarray(tiny_models.a_picture(i, tiny_vit.SIDE, tiny_vit.SIDE)) for i in range(8)]
)
TEXTS = RNG.integers(1, tiny_vit.VOCABULARY, (3, tiny_vit.CONTEXT), dtype=np.int64)


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    path = tmp_path_factory.mktemp("vision") / "vision.fp32.onnx"
    onnx.save(tiny_vit.vision(), path)
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.fp32.onnx"
    onnx.save(tiny_vit.text(), path)
    return path


def a_job(onnx_path, tmp_path, **changes):
    job = RknnConversion(
        onnx_path,
        tmp_path / "out" / "vision.rknn",
        PICTURES[:3],
        mean=tiny_models.MEAN,
        std=tiny_models.STD,
    )
    return replace(job, **changes)


def test_a_vision_tower_takes_bytes_and_comes_near_the_graph(toolkit, vision, tmp_path):
    job, steps = a_job(vision, tmp_path), []

    report = convert(job, toolkit, steps.append)

    print(report.worst, report.convert_s, report.simulate_s)
    file = read_rknn(job.out)
    assert report.worst > 0.9999
    assert report.vectors.shape == (3, tiny_vit.DIM)
    assert report.bytes == job.out.stat().st_size
    assert (file.targets, file.version) == (("rk3588",), report.toolkit)
    assert file.inputs[0].shape == (1, 3, tiny_vit.SIDE, tiny_vit.SIDE)
    assert np.allclose(file.inputs[0].mean, [255 * x for x in tiny_models.MEAN])
    assert file.inputs[0].takes_levels
    assert file.outputs[0].shape == (1, tiny_vit.DIM)
    assert "compiling for rk3588" in steps
    assert [p.name for p in job.out.parent.iterdir()] == [job.out.name]


def test_without_mean_and_std_it_takes_normalised_numbers(toolkit, vision, tmp_path):
    job = a_job(vision, tmp_path, mean=(), std=(), target="rk3566")

    report = convert(job, toolkit, print)

    assert report.worst > 0.9999
    assert not read_rknn(job.out).inputs[0].takes_levels
    assert read_rknn(job.out).targets == ("rk3566",)


def test_a_text_tower_takes_ids(toolkit, text, tmp_path):
    job = a_job(text, tmp_path, probes=TEXTS, mean=(), std=())

    report = convert(job, toolkit, print)

    print(report.worst)
    assert report.worst > 0.9999
    assert read_rknn(job.out).inputs[0].dtype == "int64"
    assert read_rknn(job.out).inputs[0].shape == (1, tiny_vit.CONTEXT)


def test_a_tower_that_pools_by_a_learned_query_is_converted_too(toolkit, tmp_path):
    onnx.save(tiny_vit.pooled_vision(), tmp_path / "pooled.onnx")

    report = convert(a_job(tmp_path / "pooled.onnx", tmp_path), toolkit, print)

    print(report.worst)
    assert report.worst > 0.9999


def test_int8_is_calibrated_with_pictures(toolkit, vision, tmp_path):
    job = a_job(vision, tmp_path, precision=Precision.INT8, calibration=PICTURES)

    report = convert(job, toolkit, print)

    print(report.worst)
    # What int8 may cost is whoever asks to decide; this is a tower and not noise.
    assert report.worst > 0.9
    assert read_rknn(job.out).inputs[0].takes_levels


def test_our_own_files_say_what_the_toolkits_say(toolkit, vision, tmp_path):
    job = a_job(vision, tmp_path)
    convert(job, toolkit, print)
    real = read_rknn(job.out)
    (pixels,), (vector,) = real.inputs, real.outputs

    tensors = [
        rknn_files.RknnTensor(each.name, each.shape, each.dtype, each.mean, each.std)
        for each in (pixels, vector)
    ]
    spec = rknn_files.RknnSpec(tensors[:1], tensors[1:], version=real.version)
    written = rknn_files.write_rknn(tmp_path / "ours.rknn", spec)

    assert read_rknn(written) == real


def test_a_graph_that_the_toolkit_does_not_take_leaves_nothing(toolkit, vision, tmp_path):
    graph = onnx.load(vision)
    graph.graph.node[0].op_type = "NoSuchOperation"
    broken = tmp_path / "broken.onnx"
    onnx.save(graph, broken)
    job = a_job(broken, tmp_path)

    with pytest.raises(ExportRefused, match=r"did not convert broken\.onnx: \S"):
        convert(job, toolkit, print)

    assert not job.out.exists()


def test_an_installed_toolkit_is_found_again_and_one_of_another_lock_is_not(toolkit, tmp_path):
    folder = toolkit.python.parent.parent

    assert toolkit_in(folder) == toolkit == make_toolkit(folder, pytest.fail)

    (tmp_path / "lumen-toolkit.sha256").write_text("0" * 64)
    assert toolkit_in(tmp_path) is None


def test_the_toolkit_sees_nothing_of_our_environment(toolkit):
    code = "import sys; print([p for p in sys.path if 'services' in p or 'worlds' in p])"
    said = subprocess.run(
        [toolkit.python, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "[]"
    assert isinstance(toolkit, RknnToolkit)
