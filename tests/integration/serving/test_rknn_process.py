"""A whole model server on a board with an NPU, which is a double, and on one that cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest
import rknn_models
import tiny_models
from serving_servers import a_config, a_server

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

ON_A_BOARD = (str(Path(__file__).parents[2] / "doubles" / "on_a_board.py"),)
SPEC = tiny_models.TinyModel()


@pytest.fixture
def config(tmp_path):
    root = tiny_models.write_model(tmp_path / "source", SPEC)
    rknn_models.add_rknn(root, SPEC)
    source = {"uri": f"file://{root}"}
    return a_config(
        root,
        model={"name": root.name, "runtime": "rknn", "precision": "fp16", "source": source},
        label_sets=[{"name": "tiny-classes"}],
        accelerator="rk3588",
        rknn_target="rk3588",
    )


def vectors_of(server, jpegs):
    requests = [
        pb.InferRequest(
            correlation_id=str(number), task="clip_image_embed", payload=each,
            payload_mime="image/jpeg",
        )
        for number, each in enumerate(jpegs)
    ]  # fmt: skip
    answers = pb_grpc.InferenceStub(server.channel()).Infer(iter(requests), timeout=60)
    found = {answer.correlation_id: json.loads(answer.result)["vector"] for answer in answers}
    return np.array([found[str(number)] for number in range(len(jpegs))], np.float32)


def test_it_serves_attests_the_npu_and_gives_it_back(config, tmp_path):
    board = rknn_models.a_board(tmp_path / "board")
    env = {"BOARD": str(board)}
    with a_server(config, tmp_path, env, program=ON_A_BOARD) as server:
        server.wait_for_health()
        vectors = vectors_of(server, [tiny_models.a_jpeg(number) for number in range(12)])
        status = json.loads(server.page("/status"))
        code = server.stop()

    assert vectors.shape == (12, SPEC.dim)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(12), abs=1e-3)
    runtime = status["runtime"]
    assert (runtime["name"], runtime["device"], runtime["precision"]) == ("rknn", "rk3588", "fp16")
    assert runtime["providers"] == ["NPU_CORE_0", "NPU_CORE_1", "NPU_CORE_2"]
    assert runtime["parityCosine"] > 0.9999
    assert runtime["details"]["driver"] == "0.9.8"
    assert code == 0


@pytest.mark.parametrize(
    ("tree", "variables", "reason", "words"),
    [
        (None, {}, "DeviceTreeMasked", "procMount"),
        ("brcm,bcm2711\0", {}, "DeviceMismatch", "nodeSelector"),
        (rknn_models.ROCK_5B, {"RKNN_INIT": "RKNN_ERR_DEVICE_UNMATCH"}, "DriverMismatch", "kernel"),
        (rknn_models.ROCK_5B, {"RKNN_API": "1.5.2"}, "DriverMismatch", "2.3.2"),
        (rknn_models.ROCK_5B, {"RKNN_ABSENT": "library"}, "RuntimeUnavailable", "device plugin"),
    ],
)
def test_a_board_that_cannot_ends_the_server_with_the_reason(
    config, tmp_path, tree, variables, reason, words
):
    board = tmp_path / "board"
    if tree is not None:
        rknn_models.a_board(board, tree)
    env = {"BOARD": str(board), **variables}
    with a_server(config, tmp_path, env, program=ON_A_BOARD) as server:
        code = server.process.wait(60)
        said = json.loads(server.termination_log.read_text())

    assert (code, said["reason"]) == (1, reason)
    assert words in said["remedy"]
