"""What a conversion to RKNN is refused for before anything is installed or started."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from lumen_export.errors import ExportRefused
from lumen_export.rknn import toolkit as toolkit_module
from lumen_export.rknn.conversion import RknnConversion, convert
from lumen_export.rknn.toolkit import RknnToolkit, make_toolkit
from lumen_manifest.spec.enums import Precision

PROBES = np.zeros((1, 8, 8, 3), np.uint8)


@pytest.fixture
def job(tmp_path):
    return RknnConversion(tmp_path / "vision.onnx", tmp_path / "vision.rknn", PROBES)


def a_toolkit(tmp_path, script):
    """A toolkit whose interpreter is a script: what the worker may do to us."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport sys, json, os\n{script}\n")
    python.chmod(0o755)
    return RknnToolkit(python)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": "rk1808"}, "rk1808 is not a chip.*rk3588"),
        ({"precision": Precision.FP32}, "fp16 or int8, not in fp32"),
        ({"precision": Precision.INT8}, "int8 needs items"),
        ({"calibration": PROBES}, "no other precision takes any"),
        ({"mean": (0.5,), "std": (0.5,)}, "three channels"),
        ({"mean": (0.5, 0.5, 0.5)}, "three channels"),
    ],
)
def test_what_cannot_be_converted_is_said_before_anything_starts(job, tmp_path, changes, says):
    with pytest.raises(ExportRefused, match=says):
        convert(replace(job, **changes), RknnToolkit(tmp_path / "absent"), print)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("print('\\x1b[31mE load_onnx: too new\\x1b[0m', file=sys.stderr); sys.exit(1)",
         "did not convert vision.onnx: E load_onnx: too new"),
        ("sys.exit(3)", "it ended with 3"),
        ("pass", "it ended with 0"),
        ("os.kill(os.getpid(), 9)", "for want of memory"),
    ],
)  # fmt: skip
def test_a_worker_that_fails_leaves_a_sentence_and_no_file(job, tmp_path, script, says):
    with pytest.raises(ExportRefused, match=says):
        convert(job, a_toolkit(tmp_path, script), print)

    assert not job.out.exists()


def test_its_steps_are_heard_and_bounded(job, tmp_path):
    steps = []
    with pytest.raises(ExportRefused):
        convert(job, a_toolkit(tmp_path, "print('x' * 5000)"), steps.append)

    assert [len(step) for step in steps] == [200]


def test_a_folder_that_holds_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(ExportRefused, match="holds other files"):
        make_toolkit(tmp_path, print)

    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ExportRefused) as refused:
        make_toolkit(tmp_path / "file" / "toolkit", print)

    assert str(tmp_path / "file" / "toolkit") in refused.value.message
    assert "--rknn-toolkit" in refused.value.remedy


def test_a_machine_that_cannot_have_the_toolkit_is_told_where_to_convert(tmp_path, monkeypatch):
    monkeypatch.setattr(toolkit_module.platform, "machine", lambda: "aarch64")

    with pytest.raises(ExportRefused, match="this machine is linux on aarch64"):
        make_toolkit(tmp_path, print)
