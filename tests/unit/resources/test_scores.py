"""How cosines become scores: what is stated, what the weights hold, and what keeps ranks."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from model_sources import an_info

from lumen_resources.errors import ResourceValidationError
from lumen_resources.model.layouts import ScoreRule
from lumen_resources.model.scores import DEFAULT_SCALE, NO_BIAS, scalars_of, score_rule_of

SIGLIP = {"model_cfg": {"init_logit_bias": -10, "vision_cfg": {}}}
LEARNT = {"logit_scale": math.log(112.5), "logit_bias": -12.25}


@pytest.mark.parametrize(
    ("lumen", "config", "scalars", "expected"),
    [
        ({}, None, {}, ScoreRule("softmax", DEFAULT_SCALE)),
        ({"logit_scale": 50.0}, None, LEARNT, ScoreRule("softmax", 50.0)),
        ({"score": {"scale": 70.0}, "logit_scale": 50.0}, None, {}, ScoreRule("softmax", 70.0)),
        ({}, {}, LEARNT, ScoreRule("softmax", pytest.approx(112.5))),
        ({}, SIGLIP, LEARNT, ScoreRule("sigmoid", pytest.approx(112.5), -12.25)),
        ({}, {"model_type": "siglip"}, LEARNT, ScoreRule("sigmoid", pytest.approx(112.5), -12.25)),
        (
            {"score": {"kind": "sigmoid", "scale": 117.0, "bias": -12.9}},
            None,
            LEARNT,
            ScoreRule("sigmoid", 117.0, -12.9),
        ),
        ({"score": {"kind": "softmax"}}, SIGLIP, {}, ScoreRule("softmax", DEFAULT_SCALE)),
    ],
)
def test_what_is_stated_comes_first_then_the_weights_then_clip_s_scale(
    lumen, config, scalars, expected
):
    assert score_rule_of(an_info(**lumen), config, scalars) == (expected, ())


@pytest.mark.parametrize("scalars", [{}, {"logit_scale": math.log(80)}, {"logit_bias": -12.25}])
def test_a_sigmoid_that_lacks_a_number_gives_shares_and_says_so(scalars):
    rule, remarks = score_rule_of(an_info(), SIGLIP, scalars)

    assert rule.kind == "softmax"
    assert remarks == (NO_BIAS,)


@pytest.mark.parametrize(
    "scalars",
    [
        {"logit_scale": math.nan},
        {"logit_scale": math.inf},
        {"logit_scale": 800.0},
        {**LEARNT, "logit_bias": -1e9},
        {**LEARNT, "logit_bias": math.nan},
    ],
)
def test_numbers_that_no_training_gives_are_refused(scalars):
    with pytest.raises(ResourceValidationError, match="no trained model has"):
        score_rule_of(an_info(), SIGLIP, scalars)


def written(path: Path, header: Any, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def a_scalar(dtype: str = "F32", shape: Any = (), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"logit_scale": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("dtype", "content"),
    [
        ("F32", struct.pack("<f", 4.5)),
        ("F64", struct.pack("<d", 4.5)),
        ("F16", struct.pack("<e", 4.5)),
        ("BF16", struct.pack("<f", 4.5)[2:]),
    ],
)
@pytest.mark.parametrize("shape", [[], [1]])
def test_a_scalar_is_read_at_its_place_whatever_lies_before_it(tmp_path, dtype, content, shape):
    first = {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    scalar = a_scalar(dtype, shape, [12, 12 + len(content)])
    path = written(tmp_path / "m.safetensors", first | scalar, bytes(12) + content)

    assert scalars_of([path, tmp_path / "never-opened.bin"]) == {"logit_scale": 4.5}


def test_a_scale_is_found_behind_what_parallel_training_puts_before_names(tmp_path):
    header = {f"module.{name}": said for name, said in a_scalar().items()}

    path = written(tmp_path / "m.safetensors", header, struct.pack("<f", 4.5))

    assert scalars_of([path]) == {"logit_scale": 4.5}


@pytest.mark.parametrize(
    "header",
    [
        a_scalar("I64", offsets=[0, 8]),
        a_scalar(shape=[2], offsets=[0, 8]),
        a_scalar(offsets=[0, 8]),
        a_scalar("F8_E4M3", offsets=[0, 1]),
        {"other": a_scalar()["logit_scale"]},
    ],
)
def test_what_is_no_scalar_is_not_taken_for_one(tmp_path, header):
    assert scalars_of([written(tmp_path / "m.safetensors", header, bytes(8))]) == {}


@pytest.mark.parametrize(
    "header",
    [
        a_scalar(offsets=[0, 10**15]),
        a_scalar(offsets=[10**30, 10**30 + 4]),
        a_scalar(offsets=[4, 0]),
        a_scalar(offsets=[-4, 0]),
        a_scalar(offsets=[0.5, 4.5]),
        a_scalar(offsets=["0", "4"]),
        a_scalar(offsets=[0]),
        a_scalar(shape="x"),
        a_scalar(shape=None),
        {"logit_scale": []},
        [],
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header):
    with pytest.raises(ResourceValidationError):
        scalars_of([written(tmp_path / "m.safetensors", header, bytes(8))])
