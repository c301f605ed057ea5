"""Which ways to compute a model are tried, and which is recommended."""

import numpy as np
import pytest
from click.testing import CliRunner

from lumen_cli import tune
from lumen_cli.main import cli
from lumen_cli.tune.ways import Way, best_of, compared, ways_of
from lumen_local.pod import machine
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.spec.enums import Accelerator, OnnxEngine, Precision, Runtime
from lumen_serving.startup.trial import Speed, Trial, TrialRefused
from lumen_terms.modality import Modality

ORT, OPENVINO = OnnxEngine.ONNXRUNTIME, OnnxEngine.OPENVINO
FP32, FP16, BF16, INT8 = Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8
ROWS = np.eye(4, 16, dtype=np.float32)


def a_way(engine=ORT, precision=FP32):
    return Way(Runtime.ONNX, engine, precision)


def a_trial(per_second, *, off=0.0, invariant=True, modality=Modality.IMAGE):
    rows = ROWS + off * np.roll(ROWS, 1, axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    speeds = {modality: Speed(8, per_second, 1.0, 1.0)}
    vectors = {modality: rows.astype(np.float32)}
    return Trial("any", "1", "cpu", "fp32", speeds, 100, vectors, invariant, singly=False)


def test_on_a_cpu_both_engines_are_tried_and_bf16_only_where_it_is_computed():
    ways = ways_of(Runtime.ONNX, Accelerator.CPU)

    assert ways[0] == a_way()
    assert a_way(OPENVINO, BF16) in ways
    assert a_way(ORT, BF16) not in ways


def test_the_fastest_whose_vectors_may_be_served_is_the_best_by_each_bar():
    tried = compared(
        {
            a_way(): a_trial(40),
            a_way(OPENVINO): a_trial(50),
            a_way(OPENVINO, BF16): a_trial(80, off=0.01),
            a_way(ORT, INT8): a_trial(100, off=0.03),
            a_way(OPENVINO, INT8): a_trial(120, off=0.2),
            a_way(ORT, FP16): a_trial(130, invariant=False),
            a_way(ORT, BF16): TrialRefused("not here"),
        }
    )

    found = {bar: one.way for bar, one in best_of(tried).items()}

    assert found == {0.9999: a_way(OPENVINO, BF16), 0.999: a_way(ORT, INT8)}
    assert [one.worthy for one in tried] == [True, True, True, True, False, False]


def test_one_way_may_be_the_best_by_both_bars():
    tried = compared({a_way(): a_trial(50), a_way(ORT, INT8): a_trial(40, off=0.03)})

    assert {one.way for one in best_of(tried).values()} == {a_way()}


def test_where_nothing_goes_nothing_is_recommended():
    assert best_of(compared({a_way(): TrialRefused("no package")})) == {}


def test_a_model_of_texts_alone_is_judged_by_texts():
    tried = compared(
        {
            a_way(): a_trial(40, modality=Modality.TEXT),
            a_way(OPENVINO): a_trial(50, modality=Modality.TEXT),
        }
    )

    assert {one.way for one in best_of(tried).values()} == {a_way(OPENVINO)}


@pytest.mark.parametrize("runtime", [Runtime.ONNX, Runtime.TORCH])
@pytest.mark.parametrize("device", [Accelerator.CPU, Accelerator.CUDA])
def test_the_lines_of_every_way_are_a_manifests(runtime, device):
    for way in ways_of(runtime, device):
        model = dict(line.strip().split(": ") for line in way.manifest_lines().splitlines()[1:])
        service = LumenModelService.model_validate(
            {
                "apiVersion": "lumen.dev/v1alpha1",
                "kind": "LumenModelService",
                "metadata": {"name": "clip"},
                "spec": {"family": "clip", "pool": "any", "model": {"name": "m", **model}},
            }
        )
        assert service.spec.model.precision is way.precision
        assert service.spec.model.engine is way.engine


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("rk3588", "onnx does not compute on rk3588. Choose another runtime or device.\n"),
        (
            "cuda",
            (
                "This machine has no cuda. There is no /dev/nvidia0: is the driver loaded? "
                "Choose another --accelerator.\n"
            ),
        ),
    ],
)
def test_a_device_that_is_not_here_is_said_once_before_anything_is_fetched(
    tmp_path, monkeypatch, device, said
):
    here = machine.gather_machine(root=tmp_path)
    monkeypatch.setattr(tune, "gather_machine", lambda: here)

    done = CliRunner().invoke(cli, ["tune", "a-model", "--accelerator", device])

    assert (done.exit_code, done.stdout, done.stderr) == (2, "", said)
