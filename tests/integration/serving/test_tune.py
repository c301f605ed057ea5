"""`lumen tune` on a real model: each way in a process of its own, figures on stdout."""

import json
import os
import subprocess
import sys

import tiny_models
from modelscope_server import ModelScopeServer

from lumen_serving.graphs.openvino import session as openvino


def test_every_way_of_this_machine_is_tried_and_lines_for_the_manifest_are_printed(tmp_path):
    root = tiny_models.write_model(tmp_path / "source")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "lumen_cli", "tune", "tiny-clip"),
            *("--uri", f"file://{root}", "--cache-dir", str(tmp_path / "cache")),
            *("--seconds", "0.1", "--output", "json", "--plot", str(tmp_path / "ways.png")),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    ways = {(way["engine"], way["precision"]): way for way in json.loads(done.stdout)}
    assert ("onnxruntime", "fp32") in ways
    assert ("openvino", "fp32") in ways
    assert (("openvino", "bf16") in ways) == openvino.computes_in_bf16()
    for way in ways.values():
        assert way["computedBy"].startswith(way["engine"])
        assert way["imagesPerSecond"] > 0
        assert way["textSingleMs"] > 0
        assert way["imageCpuMs"] > 0
        assert way["batchInvariant"]
        assert way["cosine"] > 0.999
    (best,) = [way for way in ways.values() if 0.9999 in way["bestAt"]]
    lines = f"  engine: {best['engine']}\n  precision: {best['precision']}"
    assert lines in done.stderr.partition("at least 0.9999;")[2]
    assert [0.999] in [way["bestAt"][-1:] for way in ways.values()]
    assert "onnxruntime int8  not here: onnx/vision.int8.onnx is not there" in done.stderr
    assert (tmp_path / "ways.png").read_bytes().startswith(b"\x89PNG")


def test_a_manifest_is_tuned_when_it_is_named_alone(tmp_path):
    root = tiny_models.write_model(tmp_path / "source")
    manifest = tmp_path / "tiny.yaml"
    manifest.write_text(f"""\
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: tiny}}
spec:
  family: clip
  model: {{name: tiny-clip, runtime: onnx, source: {{uri: "file://{root}"}}}}
  pool: cpu
""")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "lumen_cli", "tune", str(manifest)),
            *("--cache-dir", str(tmp_path / "cache"), "--seconds", "0.1", "--output", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, "below `spec:`" in done.stderr) == (0, True)
    assert {way["engine"] for way in json.loads(done.stdout)} == {"onnxruntime", "openvino"}


def test_a_source_that_is_not_there_is_told_once_with_its_remedy(tmp_path):
    with ModelScopeServer(tmp_path / "hub") as hub:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "lumen_cli", "tune", "tiny-clip"),
                *("--uri", "modelscope://me/nothing", "--cache-dir", str(tmp_path / "cache")),
            ],
            env=os.environ | {"MODELSCOPE_DOMAIN": hub.url},
            capture_output=True,
            text=True,
            check=False,
        )

    assert hub.requests
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("modelscope://me/nothing does not exist") == 1
    assert "Check its spelling" in done.stderr
